"""What the self-test's output means to a person."""

import json

import pytest

from blender_trellis.faults import Fault
from blender_trellis.install.self_test import outcome


def _output(*errors: float | None, device: str = "cpu", engine: str = "torch", fault: str = "") -> str:
    """Of runs that are off by so much, where 1e-5 is allowed."""
    checks = [
        {"golden": "flow", "component": f"run {i}", "error": error, "tolerance": 1e-5, "fault": fault}
        | {"passed": error is not None and error <= 1e-5}
        for i, error in enumerate(errors)
    ]
    return json.dumps({"passed": False, "device": device, "engine": engine, "checks": checks})


def test_all_passed():
    assert outcome(0, _output(0.0, 1e-6), "") == "All 2 checks passed."


@pytest.mark.parametrize(
    "code, output, errors, words",
    [
        (
            1,
            _output(0, 3e-5),
            "",
            r"1 of 2 checks missed: flow \(run 1\) is off by 3e-05, where 1e-05 is allowed",
        ),
        (
            1,
            _output(3e-5),
            "",
            "a rounding difference far below what can be seen: objects made here are good",
        ),
        (1, _output(0.4), "", "off by 0.4, .* may be wrong: repair the backend"),
        (1, _output(0.4, device="cuda:0"), "", "may be wrong: update the driver, or choose the device cpu"),
        (1, _output(0.4, device="cuda:0", engine="cuda"), "", "may be wrong: choose the engine PyTorch"),
        (1, _output(None), "", r"flow \(run 0\) is not comparable. Objects made here may be wrong"),
        (1, _output(None, fault="It broke."), "", r"flow \(run 0\) It broke. Objects"),
        (1, _output(*[0.4] * 5), "", r"5 of 5 checks missed: .*run 2\) is off by 0.4, .*; …\. Objects"),
        (0, _output(), "", "compared 0 results"),
        (1, _output(0.0), "", "exit code 1"),
        (2, "", "ImportError: no torch", "ImportError: no torch"),
        (0, "[]", "", "did not run"),
        (0, '{"checks": [1]}', "", "did not run"),
    ],
)
def test_faults_are_named_with_what_they_mean(code, output, errors, words):
    with pytest.raises(Fault, match=words):
        outcome(code, output, errors)
