"""What fits into how much memory: sizes are values, weights those of the published manifests."""

import json
from pathlib import Path

import pytest
import torch

from backend.checkpoints.model_folder import open_folder
from backend.checkpoints.published_models import published_configuration
from backend.errors import NotEnoughMemory
from backend.machine import device
from backend.machine.memory import available_memory_bytes
from backend.models.dinov2 import DinoV2, DinoV2Config
from backend.trellis.networks import Networks
from backend.trellis.preflight import check
from backend.trellis.preflight.check import Need, require_memory, shortage
from backend.trellis.preflight.need import FEWEST_VOXELS, stage_weights, stage_working
from backend.trellis.residency import STAGES, parameter_bytes

MANIFESTS = Path(__file__).parent / "manifests"
GB = 10**9
CARD = {4: 3.6 * GB, 8: 7.6 * GB, 24: 23 * GB}
"""What is free on a card of so many GB with nothing else on it."""
FORMATS = ("mesh", "gaussian")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """TRELLIS-image-large without its weights."""
    place = tmp_path_factory.mktemp("image-large")
    told = published_configuration("TRELLIS-image-large")
    (place / "pipeline.json").write_text(json.dumps(told["pipeline"]))
    (place / "ckpts").mkdir()
    for role, path in told["pipeline"]["args"]["models"].items():
        (place / f"{path}.json").write_text(json.dumps(told["checkpoints"][role]))
    return open_folder(place)


@pytest.fixture(scope="module")
def needs(folder):
    """The needs of an object of so many voxels in 32 and in 16 bit."""
    with torch.device("meta"):
        dinov2 = parameter_bytes(DinoV2(DinoV2Config()))

    def need(voxels: int, dtype: torch.dtype) -> Need:
        weights = {"condition": dinov2}
        for stage, role in STAGES.items():
            if stage != "condition" and stage != "decode_radiance_field":
                weights[stage] = weight_bytes(folder.models[role].name, dtype)
        return Need(weights, stage_working(folder, FORMATS, voxels, dtype))

    return lambda voxels: (need(voxels, torch.float32), need(voxels, torch.float16))


def weight_bytes(name: str, dtype: torch.dtype) -> int:
    sizes = {"float32": 4, "float16": dtype.itemsize}
    tensors = json.loads((MANIFESTS / f"{name}.json").read_text())["state_dict"].values()
    return sum(torch.Size(shape).numel() * sizes[kind] for *shape, kind in tensors)


@pytest.mark.parametrize("voxels", [FEWEST_VOXELS, 20_000, 32_768])
def test_a_card_of_8_gb_runs_image_large(needs, voxels):
    _, half = needs(voxels)
    assert shortage("TRELLIS-image-large", "cuda:0", half, half, "auto", int(CARD[8])) is None


def test_a_card_of_4_gb_runs_small_objects_and_names_what_larger_ones_need(needs):
    _, half = needs(FEWEST_VOXELS)
    assert shortage("TRELLIS-image-large", "cuda:0", half, half, "auto", int(CARD[4])) is None
    _, half = needs(32_768)
    found = shortage("TRELLIS-image-large", "cuda:0", half, half, "auto", int(CARD[4]))
    # 64 · 32768 rows of 96 · (12 + 4) + 132 bytes, and 182 MB of weights
    assert found.sentence.startswith(
        "TRELLIS-image-large needs about 3.7 GB of memory on cuda:0 for making the mesh, "
        "and 3.6 GB are free: "
    )
    assert found.remedy == "" and "choose a smaller model" in found.sentence


def test_what_stays_on_the_card_is_counted_and_may_leave(needs):
    _, half = needs(FEWEST_VOXELS)
    found = shortage("TRELLIS-image-large", "cuda:0", half, half, "keep", int(CARD[4]))
    assert found.remedy == "free_parts" and "Memory: Automatic" in found.sentence
    assert "needs about 4.5 GB" in found.sentence
    assert shortage("TRELLIS-image-large", "cuda:0", half, half, "keep", int(CARD[24])) is None


def test_half_precision_is_the_remedy_where_it_is_enough(needs):
    full, half = needs(FEWEST_VOXELS)
    free = 2 * GB  # another program has the rest
    found = shortage("TRELLIS-image-large", "cuda:0", full, half, "auto", free)
    assert found.remedy == "half_precision"
    assert found.sentence.endswith(": take half precision (Precision: 16 Bit).")
    assert shortage("TRELLIS-image-large", "cuda:0", half, half, "auto", free) is None


def test_a_processor_keeps_everything(needs):
    full, half = needs(FEWEST_VOXELS)
    found = shortage("TRELLIS-image-large", "cpu", full, half, "auto", 5 * GB)
    assert found.remedy == "half_precision" and "GB of memory for" in found.sentence
    assert found.sentence.endswith(": take half precision (Precision: 16 Bit (bfloat)).")  # fp16 is refused
    assert shortage("TRELLIS-image-large", "cpu", full, half, "auto", 8 * GB) is None


def test_where_the_free_memory_is_not_known_nothing_is_refused(needs):
    full, half = needs(10**6)
    assert shortage("TRELLIS-image-large", "mps", full, half, "keep", 0) is None


def test_weights_are_counted_from_headers(tiny_model):
    """As loading them counts them: never more, so that nothing is refused that runs."""
    folder = open_folder(tiny_model)
    for dtype in (torch.float32, torch.bfloat16):
        networks = Networks(folder, torch.device("cpu"), dtype)
        counted = stage_weights(folder, FORMATS, dtype, ())
        for stage, role in STAGES.items():
            if stage in counted and stage != "condition":
                assert 0.7 < counted[stage] / parameter_bytes(networks[role]) < 1.001
        assert counted["condition"] > 0


def test_a_request_that_does_not_fit_is_refused_before_it_begins(tiny_model, monkeypatch):
    networks = Networks.open(tiny_model, torch.device("cpu"), torch.float32)
    require_memory(networks, FORMATS)
    monkeypatch.setattr(check, "available_memory_bytes", lambda: 1000)
    with pytest.raises(NotEnoughMemory, match="needs about .* GB of memory for .*, and 0.0 GB are free"):
        require_memory(networks, FORMATS)


@pytest.mark.parametrize("has_bf16", [True, False])
def test_half_precision_is_no_advice_on_a_processor_that_has_none(tiny_model, monkeypatch, has_bf16):
    monkeypatch.setattr(device, "_processor_has_bf16", lambda: has_bf16)
    networks = Networks.open(tiny_model, torch.device("cpu"), torch.float32)
    need = check._need(networks, FORMATS, FEWEST_VOXELS, torch.float32).peak("keep")[1]
    monkeypatch.setattr(check, "_free", lambda _: need - 1)
    with pytest.raises(NotEnoughMemory) as fault:
        require_memory(networks, FORMATS)
    assert fault.value.remedy == ("half_precision" if has_bf16 else "")
    assert ("half precision" in str(fault.value)) == has_bf16


def test_what_half_precision_would_need_is_counted_without_a_warning(tiny_model, monkeypatch, caplog):
    monkeypatch.setattr(device, "_processor_has_bf16", lambda: False)
    require_memory(Networks.open(tiny_model, torch.device("cpu"), torch.float32), FORMATS)
    assert caplog.text == ""


def test_this_machine_tells_of_its_memory():
    assert available_memory_bytes() > 100 << 20
