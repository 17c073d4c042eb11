"""Ctrl-C in a command of `python -m backend`, in a real process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Whatever module a command has, its import is where the signal comes.
INTERRUPTED = """
import runpy, signal, sys
class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == "backend.finish":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
sys.argv = ["backend", "finish", "a.glb", "--output", "."]
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("backend", run_name="__main__", alter_sys=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_is_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (2, "Interrupted.\n")
