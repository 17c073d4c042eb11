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


def test_blender_lives_through_faults(tmp_path, monkeypatch):
    monkeypatch.setattr(soak, "TOLD_EVERY", FAULTS // 2)
    told = []
    found = soak.soak(seed=11, first=0, faults=FAULTS, which="fake", home=tmp_path, tell=told.append)
    assert found.lines == []
    assert told == [f"{met} faults: {met} well, 0 hangs, 0 crashes, 0 wrong" for met in (FAULTS // 2, FAULTS)]
    assert (found.well, found.hangs, found.crashes, found.wrong) == (FAULTS, 0, 0, 0)


def test_what_is_not_well_is_told_at_once():
    told = []
    outcome = soak.Outcome(wrong=1, tell=told.append)
    outcome.add("wrong 7 die at 3, nothing after 2 f7 is lost")
    assert told == outcome.lines == ["wrong 7 die at 3, nothing after 2 f7 is lost"]
