"""What a process says of its own memory."""

import subprocess
import sys

import numpy as np

from backend.machine.memory import peak_memory_bytes

TELL = "from backend.machine.memory import peak_memory_bytes; print(peak_memory_bytes())"


def test_the_peak_of_a_process_is_not_that_of_the_one_that_started_it():
    held = np.ones(40_000_000)
    assert peak_memory_bytes() >= held.nbytes
    told = subprocess.run([sys.executable, "-c", TELL], capture_output=True, text=True, check=True)
    assert 1e6 < int(told.stdout) < held.nbytes / 2
