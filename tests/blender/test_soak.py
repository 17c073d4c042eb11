"""Some of the faults that `make soak` injects: no hang, no crash, nothing finished that is lost."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "soak"))

import soak
from faults import BROKEN, HARMLESS, LIES, fault_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="injects faults by signals and limits")
FAULTS = 30


def test_faults_are_drawn_of_seed_and_number_and_of_every_kind():
    drawn = [fault_of(5, number, real=False) for number in range(300)]
    assert drawn == [fault_of(5, number, real=False) for number in range(300)]
    assert {one.kind for one in drawn} == {*HARMLESS, *LIES, *BROKEN}
    assert drawn[:50] != [fault_of(6, number, real=False) for number in range(50)]


def test_blender_lives_through_faults(tmp_path):
    found = soak.soak(seed=11, first=0, faults=FAULTS, which="fake", home=tmp_path)
    assert found.lines == []
    assert (found.well, found.hangs, found.crashes, found.wrong) == (FAULTS, 0, 0, 0)
