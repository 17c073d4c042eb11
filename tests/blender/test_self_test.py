"""What the self-test's output means to a person."""

import json

import pytest

from blender_trellis.faults import Fault
from blender_trellis.install.self_test import outcome


def _output(*passed: bool) -> str:
    checks = [{"golden": "flow", "component": f"run {i}", "passed": ok} for i, ok in enumerate(passed)]
    return json.dumps({"passed": all(passed), "device": "cpu", "checks": checks})


def test_all_passed():
    assert outcome(0, _output(True, True), "") == "All 2 checks passed."


@pytest.mark.parametrize(
    "code, output, errors, words",
    [
        (1, _output(True, False), "", r"1 of 2 checks failed \(flow: run 1\)"),
        (0, _output(), "", "checks failed"),
        (1, _output(True), "", "exit code 1"),
        (2, "", "ImportError: no torch", "ImportError: no torch"),
        (0, "[]", "", "did not run"),
    ],
)
def test_faults_are_named(code, output, errors, words):
    with pytest.raises(Fault, match=words):
        outcome(code, output, errors)
