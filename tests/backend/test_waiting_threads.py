"""Threads of a started backend sleep while they wait: OpenMP's own report of its settings is the judge."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend.machine.waiting_threads import OWN, let_waiting_threads_sleep

ROOT = Path(__file__).parents[2]


def openmp_settings(**own: str) -> str:
    """What the OpenMP library of a backend says as it is loaded, in upper case."""
    inherited = {name: value for name, value in os.environ.items() if name not in OWN}
    command = [sys.executable, "-m", "backend", "bench", "--help"]
    environment = {**inherited, "OMP_DISPLAY_ENV": "VERBOSE", **own}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    if "OMP_WAIT_POLICY" not in done.stderr:
        pytest.skip("this torch has no OpenMP that reports its settings")
    return done.stderr.upper().replace("='", " = '")


def test_waiting_threads_sleep() -> None:
    said = openmp_settings()
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in said
    assert "GOMP_SPINCOUNT = '1000'" in said or "KMP_BLOCKTIME = '0'" in said


def test_a_setting_of_ones_own_is_kept() -> None:
    assert "OMP_WAIT_POLICY = 'ACTIVE'" in openmp_settings(OMP_WAIT_POLICY="active")


@pytest.mark.parametrize("name", OWN)
def test_any_setting_about_waiting_counts_as_ones_own(name: str) -> None:
    environment = {name: "1"}
    let_waiting_threads_sleep(environment)
    assert environment == {name: "1"}
