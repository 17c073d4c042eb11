"""What lies on the device while a stage runs; published sizes are those of the checkpoints' manifests."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from backend.errors import UserError
from backend.models.dinov2 import DinoV2, DinoV2Config
from backend.trellis.residency import (
    CONDITIONER,
    STAGES,
    Residency,
    flow_working_bytes,
    is_on,
    mesh_working_bytes,
    parameter_bytes,
    peak_bytes,
    stages_for,
)

MANIFESTS = Path(__file__).parent / "manifests"
IMAGE_LARGE = {
    "sparse_structure": "ss_flow_img_dit_L_16l8_fp16",
    "decode_sparse_structure": "ss_dec_conv3d_16l8_fp16",
    "structured_latent": "slat_flow_img_dit_L_64l8p2_fp16",
    "decode_gaussian": "slat_dec_gs_swin8_B_64l8gs32_fp16",
    "decode_radiance_field": "slat_dec_rf_swin8_B_64l8r16_fp16",
    "decode_mesh": "slat_dec_mesh_swin8_B_64l8m256c_fp16",
}
VOXELS = 32768
CARD = 8 * 2**30
DRIVER = 2**29
"""What a card's driver and torch's allocator take beside the tensors."""


def manifest(name: str) -> dict:
    return json.loads((MANIFESTS / f"{name}.json").read_text())


def stored_bytes(name: str) -> int:
    """Bytes of a published checkpoint's tensors."""
    sizes = {"float32": 4, "float16": 2}
    tensors = manifest(name)["state_dict"].values()
    return sum(torch.Size(shape).numel() * sizes[dtype] for *shape, dtype in tensors)


def image_large() -> tuple[dict[str, int], dict[str, int]]:
    """Bytes of weights and of working memory by stage: image-large in fp16, DINOv2 in fp32."""
    with torch.device("meta"):
        dinov2 = parameter_bytes(DinoV2(DinoV2Config()))
    weights = {"condition": dinov2, **{stage: stored_bytes(name) for stage, name in IMAGE_LARGE.items()}}
    mesh = manifest(IMAGE_LARGE["decode_mesh"])["args"]
    flow = manifest(IMAGE_LARGE["structured_latent"])["args"]
    working = {
        "sparse_structure": flow_working_bytes(16**3, flow["model_channels"], 2),
        # no more tokens than voxels are left after the pooling
        "structured_latent": flow_working_bytes(VOXELS, flow["model_channels"], 2),
        "decode_mesh": mesh_working_bytes(VOXELS, mesh["model_channels"], 101, 2),
    }
    return weights, working


def test_eight_gigabytes_do_for_image_large() -> None:
    weights, working = image_large()
    assert list(weights) == list(STAGES)
    assert (
        1.1e9 < weights["condition"] < 1.3e9 and 2.5e9 < sum(weights.values()) - weights["condition"] < 3.5e9
    )
    released = peak_bytes(weights, working, "release")
    assert max(released.values()) + DRIVER < CARD
    assert max(peak_bytes(weights, working, "keep").values()) > max(released.values()) + 3 * 2**30


def test_a_request_needs_no_decoder_of_other_formats() -> None:
    assert stages_for(["gaussian"]) == (
        "condition",
        "sparse_structure",
        "decode_sparse_structure",
        "structured_latent",
        "decode_gaussian",
    )
    assert stages_for(["mesh", "radiance_field"])[-2:] == ("decode_radiance_field", "decode_mesh")


class Model(nn.Linear):
    """Notes where it is asked to go: tensors do not come back from the device meta."""

    place = "cpu"

    def to(self, device: torch.device | str) -> "Model":
        self.place = torch.device(device).type
        return self


@pytest.fixture
def loaded() -> dict[str, nn.Module]:
    return {role: nn.Linear(4, 4) for role in (CONDITIONER, *list(STAGES.values())[1:3])}


def where(loaded: dict[str, nn.Module]) -> list[str]:
    return [next(one.parameters()).device.type for one in loaded.values()]


@pytest.mark.parametrize(
    ("setting", "free", "expected"),
    [
        ("keep", 0, ["meta", "meta"]),
        ("release", 10**9, ["cpu", "meta"]),
        ("auto", 79, ["cpu", "meta"]),
        ("auto", 1000 + 80, ["meta", "meta"]),
        ("auto", 1000 + 79, ["cpu", "meta"]),
    ],
)
def test_models_leave_as_the_setting_says(
    monkeypatch: pytest.MonkeyPatch, setting: str, free: int, expected: list[str]
) -> None:
    """The device meta stands for a card: what lies there is known, what would be computed is not."""
    monkeypatch.setattr("backend.trellis.residency.free_bytes", lambda _: free)
    loaded = {CONDITIONER: Model(4, 4), "sparse_structure_flow_model": Model(4, 4)}
    residency = Residency(torch.device("meta"), setting)
    residency.begin("condition", loaded, 0)
    residency.begin("sparse_structure", loaded, 1000)
    assert [one.place for one in loaded.values()] == expected


def test_a_processor_moves_nothing(loaded: dict[str, nn.Module]) -> None:
    Residency(torch.device("cpu"), "release").begin("sparse_structure", loaded)
    assert where(loaded) == ["cpu"] * 3


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(UserError, match="no memory setting often: choose auto, keep or release"):
        Residency(torch.device("cpu"), "often")


def test_a_device_without_its_number_is_the_one_where_models_lie() -> None:
    class Placed(nn.Module):
        def parameters(self, recurse: bool = True) -> Iterator[Any]:
            yield SimpleNamespace(device=torch.device("mps:0"))

    assert is_on(Placed(), torch.device("mps")) and is_on(Placed(), torch.device("mps:0"))
    assert not is_on(Placed(), torch.device("mps:1")) and not is_on(Placed(), torch.device("cpu"))


def test_bytes_are_those_of_the_stored_precision() -> None:
    assert parameter_bytes(nn.Linear(4, 4).half()) == 2 * (16 + 4)
