"""Devices and precisions by name."""

from pathlib import Path

import pytest
import torch

from backend.errors import UserError
from backend.machine import device
from backend.machine.device import choose_device, choose_dtype, devices, mixed_precision
from backend.trellis.engine import TrellisEngine

CPU = torch.device("cpu")


def test_the_processor_is_always_there() -> None:
    assert devices()[-1].name == "cpu"
    assert devices()[-1].memory_bytes > 2**28
    assert choose_device("cpu") == CPU
    assert str(choose_device("auto")) == devices()[0].name


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "", "vulkan"])
def test_a_device_that_is_not_there_is_named_with_those_that_are(name: str) -> None:
    with pytest.raises(UserError, match="choose auto or one of .*cpu"):
        choose_device(name)


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_precision_of_a_processor(
    monkeypatch: pytest.MonkeyPatch, native: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(device, "_processor_has_bf16", lambda: native)
    assert choose_dtype(CPU, "auto") == dtype


@pytest.mark.parametrize("name", ["bf16", "bfloat16"])
@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bf16_without_its_instructions_becomes_fp32_and_is_said(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    native: bool,
    dtype: torch.dtype,
) -> None:
    monkeypatch.setattr(device, "_processor_has_bf16", lambda: native)
    assert choose_dtype(CPU, name) == dtype
    assert ("fp32 is taken" in caplog.text) != native
    assert choose_dtype(torch.device("cuda"), name) == torch.bfloat16


@pytest.mark.parametrize("native", [True, False])
def test_mixed_precision_leaves_a_processor_that_only_imitates_bf16_in_fp32(
    monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    monkeypatch.setattr(device, "_processor_has_bf16", lambda: native)
    matrix = torch.ones(2, 2)
    with mixed_precision(CPU):
        assert (matrix @ matrix).dtype == (torch.bfloat16 if native else torch.float32)
    with mixed_precision(CPU, wanted=False):
        assert (matrix @ matrix).dtype == torch.float32


def test_the_precision_that_was_taken_is_the_one_reported(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    monkeypatch.setattr(device, "_processor_has_bf16", lambda: False)
    loaded = TrellisEngine().load(str(tiny_model), "cpu", "bf16", "torch")
    assert loaded.precision == "float32"


def test_precision_by_name() -> None:
    assert choose_dtype(CPU, "fp32") == torch.float32
    assert choose_dtype(torch.device("cuda"), "auto") == torch.float16
    with pytest.raises(UserError, match="fp16"):
        choose_dtype(CPU, "fp16")
    with pytest.raises(UserError, match="int8"):
        choose_dtype(CPU, "int8")
