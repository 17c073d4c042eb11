"""Reading and writing checkpoints and model folders: what is whole comes back, what is not is named."""

import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import write_tiny_encoders, write_tiny_model
from torch import nn

from backend.checkpoints.weights import (
    MODEL_CLASSES,
    available_models,
    build_model,
    models_folder,
    open_folder,
    read_model,
    write_model,
)
from backend.config import read_json
from backend.errors import MissingModel, UserError
from backend.tensor_files import read_tensors

ROOT = Path(__file__).parents[2]
FLOW = {
    "resolution": 4,
    "in_channels": 3,
    "out_channels": 3,
    "model_channels": 24,
    "cond_channels": 10,
    "num_blocks": 1,
    "num_heads": 3,
    "patch_size": 1,
    "qk_rms_norm": True,
}


@pytest.fixture
def flow() -> nn.Module:
    torch.manual_seed(0)
    model = build_model("SparseStructureFlowModel", FLOW)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture
def checkpoint(flow: nn.Module, tmp_path: Path) -> Path:
    write_model(flow, tmp_path / "flow.v1", half=False)
    return tmp_path / "flow.v1"


def weights(checkpoint: Path) -> Path:
    return checkpoint.with_name(checkpoint.name + ".safetensors")


def settings(checkpoint: Path) -> Path:
    return checkpoint.with_name(checkpoint.name + ".json")


def test_what_is_written_comes_back(flow: nn.Module, checkpoint: Path) -> None:
    read = read_model(checkpoint)
    assert not read.training
    assert read.config == flow.config
    assert {k: v.tolist() for k, v in read.state_dict().items()} == {
        k: v.tolist() for k, v in flow.state_dict().items()
    }


def test_halved_file_holds_a_half_precision_torso_and_loads_in_any_precision(
    flow: nn.Module, tmp_path: Path
) -> None:
    write_model(flow, tmp_path / "half", half=True)
    stored = load_file(tmp_path / "half.safetensors")
    assert json.loads((tmp_path / "half.json").read_text())["args"]["use_fp16"] is True
    assert stored["blocks.0.self_attn.to_qkv.weight"].dtype == torch.float16
    for key in (
        "input_layer.weight",
        "pos_emb",
        "blocks.0.norm2.weight",
        "blocks.0.self_attn.q_rms_norm.gamma",
    ):
        assert stored[key].dtype == torch.float32
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        model = read_model(tmp_path / "half", dtype)
        assert model.dtype == dtype
        assert model.blocks[0].mlp.mlp[0].weight.dtype == dtype
        assert model.input_layer.weight.dtype == torch.float32
    whole = read_model(tmp_path / "half").blocks[0].mlp.mlp[0].weight
    assert torch.equal(whole, flow.blocks[0].mlp.mlp[0].weight.half().float())


def test_a_model_that_was_read_can_be_trained(checkpoint: Path) -> None:
    model = read_model(checkpoint).train()
    x, t, cond = torch.randn(1, 3, 4, 4, 4), torch.tensor([10.0]), torch.randn(1, 5, 10)
    model(x, t, model.context(cond)).square().mean().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert not torch.equal(model.out_layer.bias, read_model(checkpoint).out_layer.bias)


def test_other_networks_are_read_and_written_too(tmp_path: Path) -> None:
    encoder = build_model("LiftingImageEncoder", {"plane_channels": [8, 8], "volume_channels": [8, 8]})
    write_model(encoder, tmp_path / "encoder", half=True)
    read = read_model(tmp_path / "encoder", torch.float32)
    assert {value.dtype for value in read.state_dict().values()} == {torch.float32}
    assert not any(value.is_meta for value in (*read.parameters(), *read.buffers()))


def test_elastic_names_are_the_same_classes() -> None:
    assert MODEL_CLASSES["ElasticSLatFlowModel"] is MODEL_CLASSES["SLatFlowModel"]


def spoil_keys(path: Path, change: str) -> None:
    tensors = load_file(path)
    if change == "missing":
        tensors = {key: value for key, value in tensors.items() if not key.startswith("blocks.0.mlp")}
    elif change == "extra":
        tensors["ema_decay"] = torch.ones(1)
    else:
        tensors["out_layer.bias"] = torch.ones(7)
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("missing", r"4 keys missing \(blocks.0.mlp.mlp.0.weight, .*, …\)"),
        ("extra", r"1 keys too many \(ema_decay\)"),
        ("shape", r"out_layer.bias is \(7,\) instead of \(3,\)"),
    ],
)
def test_keys_that_do_not_fit_are_named(checkpoint: Path, change: str, named: str) -> None:
    spoil_keys(weights(checkpoint), change)
    with pytest.raises(UserError, match=named):
        read_model(checkpoint)


@pytest.mark.parametrize("kept", [0, 4, 100, 5000])
def test_truncated_weights_are_damaged(checkpoint: Path, kept: int) -> None:
    weights(checkpoint).write_bytes(weights(checkpoint).read_bytes()[:kept])
    with pytest.raises(UserError, match=r"flow\.v1\.safetensors are damaged"):
        read_model(checkpoint)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04K\x01.",
        b"PK\x03\x04" + bytes(500),
        b"\xff" * 64,
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 50) + b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 999]}}',
    ],
    ids=["pickle", "zip", "noise", "endless header", "offsets beyond the end"],
)
def test_foreign_weights_are_damaged(checkpoint: Path, data: bytes) -> None:
    weights(checkpoint).write_bytes(data)
    with pytest.raises(UserError, match="are damaged"):
        read_model(checkpoint)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("\x00\xff", "cannot be read"),
        ("[]", "not a JSON object"),
        ('{"args": {}}', "does not name its class"),
        ('{"name": "SLatFoo", "args": {}}', "no model class SLatFoo"),
        ('{"name": "SLatEncoder"}', "needs the setting"),
        ('{"name": "SLatEncoder", "args": {"width": 3}}', "width"),
    ],
    ids=range(9),
)
def test_broken_settings_are_named(checkpoint: Path, text: str, named: str) -> None:
    settings(checkpoint).write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=named):
        read_model(checkpoint)


def test_missing_files_are_a_missing_model(checkpoint: Path) -> None:
    weights(checkpoint).unlink()
    for suffix in ("pt", "ckpt", "bin", "pth"):
        checkpoint.with_name(f"{checkpoint.name}.{suffix}").write_bytes(b"never opened")
    with pytest.raises(MissingModel, match=r"flow\.v1\.safetensors are missing: download"):
        read_model(checkpoint)
    settings(checkpoint).unlink()
    with pytest.raises(MissingModel, match=r"flow\.v1\.json is missing"):
        read_model(checkpoint)


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A checkpoint with matrices of some size, and layers that training left as they began: at zero."""
    torch.manual_seed(0)
    write_model(
        build_model("SparseStructureFlowModel", {**FLOW, "model_channels": 96}), tmp_path / "wide", half=True
    )
    return tmp_path / "wide"


def test_layers_that_begin_at_zero_may_stay_so(wide: Path) -> None:
    stored = load_file(weights(wide))
    assert not stored["blocks.0.adaLN_modulation.1.weight"].any()
    assert not stored["out_layer.weight"].any()
    read_model(wide)


def test_weights_whose_second_half_never_arrived_are_damaged(wide: Path) -> None:
    size = weights(wide).stat().st_size
    os.truncate(weights(wide), size // 2)
    os.truncate(weights(wide), size)
    with pytest.raises(UserError, match=r"wide\.safetensors are damaged \(\S+ (holds|ends in)"):
        read_model(wide)


def test_a_file_that_lacks_only_its_end_is_damaged(tmp_path: Path) -> None:
    save_file({"a": torch.randn(8), "b": torch.randn(100, 100)}, tmp_path / "x.safetensors")
    size = (tmp_path / "x.safetensors").stat().st_size
    read_tensors(tmp_path / "x.safetensors", ())
    os.truncate(tmp_path / "x.safetensors", size - 20_000)
    os.truncate(tmp_path / "x.safetensors", size)
    with pytest.raises(UserError, match=r"damaged \(b ends in zeros"):
        read_tensors(tmp_path / "x.safetensors", ())


def test_a_cut_within_what_may_be_zero_is_damaged(tmp_path: Path) -> None:
    stored = {"a": torch.randn(100, 100), "b": torch.randn(100, 100), "c": torch.zeros(100, 100)}
    save_file(stored, tmp_path / "x.safetensors")
    read_tensors(tmp_path / "x.safetensors", ("b", "c"))
    size = (tmp_path / "x.safetensors").stat().st_size
    os.truncate(tmp_path / "x.safetensors", size - 70_000)
    os.truncate(tmp_path / "x.safetensors", size)
    with pytest.raises(UserError, match=r"damaged \(b ends in zeros"):
        read_tensors(tmp_path / "x.safetensors", ("b", "c"))


def test_a_piece_that_never_arrived_in_the_middle_is_damaged(tmp_path: Path) -> None:
    table = torch.randn(3000, 300)
    table[1000:2000] = 0
    save_file({"table": table}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"damaged \(table holds long runs of zeros"):
        read_tensors(tmp_path / "x.safetensors", ())


def test_what_may_be_zero(tmp_path: Path) -> None:
    stored = {
        "bias": torch.zeros(9000),
        "mask_token": torch.zeros(1, 9000),
        "register_tokens": torch.zeros(1, 4, 1024),
        "padding": torch.cat([torch.zeros(4, 384), torch.randn(100, 384)]),
        "position_ids": torch.zeros(1, 9000, 2, dtype=torch.int64),
        "weight": torch.randn(100, 100),
    }
    save_file(stored, tmp_path / "x.safetensors")
    assert read_tensors(tmp_path / "x.safetensors", ()).keys() == stored.keys()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_values_that_are_not_finite_are_named(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    stored = {"weight": torch.ones(3, 3, dtype=dtype), "norm.bias": torch.zeros(7, dtype=dtype)}
    stored["norm.bias"][5] = value
    save_file(stored, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"x\.safetensors are damaged \(norm\.bias .*not finite"):
        read_tensors(tmp_path / "x.safetensors", ())


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_weights_of_eight_bits_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    stored = torch.tensor([[0.5, -2.0], [1.0, 4.0]])
    save_file({"weight": stored.to(dtype)}, tmp_path / "x.safetensors")
    assert torch.equal(read_tensors(tmp_path / "x.safetensors", ())["weight"], stored)


def test_numbers_of_another_kind_are_named(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2, dtype=torch.complex64)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"weight as torch\.complex64, which is not read"):
        read_tensors(tmp_path / "x.safetensors", ())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_named_pipe_is_refused_at_once(checkpoint: Path, suffix: str) -> None:
    place = checkpoint.with_name(f"{checkpoint.name}.{suffix}")
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(UserError, match=rf"flow\.v1\.{suffix} is a named pipe"):
        read_model(checkpoint)


def test_a_huge_json_file_is_refused_at_once(checkpoint: Path) -> None:
    os.truncate(settings(checkpoint), 1 << 40)
    with pytest.raises(UserError, match=r"flow\.v1\.json has 1048576 MiB"):
        read_model(checkpoint)


def test_a_wrong_setting_is_named_with_its_file(checkpoint: Path) -> None:
    content = json.loads(settings(checkpoint).read_text())
    content["args"]["mlp_ratio"] = float("nan")
    settings(checkpoint).write_text(json.dumps(content))
    with pytest.raises(
        UserError, match=r"flow\.v1\.json: SparseStructureFlowModel\.mlp_ratio must lie between"
    ):
        read_model(checkpoint)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny")


def edit_pipeline(folder: Path, **changes: object) -> None:
    path = folder / "pipeline.json"
    pipeline = json.loads(path.read_text())
    for key, value in changes.items():
        if value is None:
            del pipeline["args"][key]
        else:
            pipeline["args"][key] = value
    path.write_text(json.dumps(pipeline))


def sampler(name: str, **params: object) -> dict:
    return {"name": name, "args": {"sigma_min": 1e-3}, "params": params}


def write_sums(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*.*") if path.is_file())
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}" for p in files
    ]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")


def test_folder_tells_roles_samplers_and_normalisation(folder: Path) -> None:
    edit_pipeline(
        folder,
        slat_normalization={"mean": [0.5, 1], "std": [2, 3.5]},
        sparse_structure_sampler=sampler(
            "FlowEulerGuidanceIntervalSampler", steps=9, cfg_interval=[0.5, 1.0]
        ),
        slat_sampler=sampler("FlowEulerSampler", steps=4, rescale_t=2.0),
    )
    model = open_folder(folder)
    assert (model.path, model.name) == (folder, "tiny")
    assert read_model(model.models["slat_flow_model"]).config.in_channels == 4
    assert model.structure_sampler.steps == 9
    assert model.structure_sampler.cfg_interval == (0.5, 1.0)
    assert model.slat_sampler.cfg_strength == 0.0  # this class has no guidance
    assert (model.structure_sampler.sigma_min, model.slat_sampler.sigma_min) == (1e-3, 1e-3)
    mean, std = model.slat_normalization
    assert (mean, std) == ((0.5, 1), (2, 3.5))


def test_optional_roles_may_lack(folder: Path) -> None:
    roles = json.loads((folder / "pipeline.json").read_text())["args"]["models"]
    del roles["slat_decoder_rf"]
    edit_pipeline(folder, models=roles)
    assert "slat_decoder_rf" not in open_folder(folder).models


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"models": []}, "models"),
        ({"models": {"slat_decoder_gs": "../elsewhere/gs"}}, "slat_decoder_gs"),
        ({"models": {"slat_decoder_gs": "/etc/passwd"}}, "slat_decoder_gs"),
        ({"models": {"slat_decoder_gs": 3}}, "slat_decoder_gs"),
        ({"slat_sampler": sampler("DdimSampler")}, "DdimSampler"),
        ({"slat_sampler": sampler("FlowEulerSampler", noise=1)}, "noise"),
        ({"slat_sampler": sampler("FlowEulerSampler", steps="many")}, "slat_sampler"),
        ({"slat_sampler": sampler("FlowEulerSampler", steps=2.5)}, "steps"),
        ({"slat_sampler": sampler("FlowEulerSampler", steps=0)}, "steps"),
        ({"slat_sampler": sampler("FlowEulerCfgSampler", cfg_interval=[1])}, "cfg_interval"),
        ({"slat_normalization": {"mean": [1, 2], "std": [1]}}, "slat_normalization.std"),
        ({"slat_normalization": {"mean": [1, 2], "std": [1, 0]}}, "slat_normalization.std .* above 0"),
        ({"slat_sampler": sampler("FlowEulerCfgSampler", cfg_interval=[1, 0.5])}, "cfg_interval"),
        ({"image_cond_model": 7}, "image_cond_model"),
        (
            {"slat_normalization": {"mean": [float("nan")], "std": [1]}},
            r"pipeline\.json\.args\.slat_normalization\.mean",
        ),
        ({"slat_sampler": sampler("FlowEulerSampler", rescale_t=float("inf"))}, "rescale_t"),
        ({"slat_sampler": {"args": {"sigma_min": "small"}}}, "sigma_min"),
        ({"slat_sampler": {"args": {"sigma": 1}}}, "sigma"),
        ({"refiner": {}}, "refiner"),
    ],
    ids=str,
)
def test_a_wrong_pipeline_is_named(folder: Path, changes: dict, named: str) -> None:
    edit_pipeline(folder, **changes)
    with pytest.raises(UserError, match=named):
        open_folder(folder)


def test_a_broken_pipeline_is_named(folder: Path) -> None:
    (folder / "pipeline.json").write_text('{"args":')
    with pytest.raises(UserError, match="pipeline.json cannot be read"):
        open_folder(folder)


def test_a_missing_model_says_where_it_belongs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRELLIS_MODELS", str(tmp_path))
    assert models_folder() == tmp_path
    with pytest.raises(MissingModel, match=f"owner/none.*download.*{tmp_path}"):
        open_folder("owner/none")


@pytest.mark.parametrize("place", ["large", "owner/large"])
def test_downloaded_models_are_found_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    monkeypatch.setenv("TRELLIS_MODELS", str(tmp_path))
    folder = write_tiny_model(tmp_path / place)
    assert open_folder(place).path == folder
    assert open_folder("owner/large").path == folder
    assert place in available_models()


@pytest.mark.parametrize("place", ["home/image-large", "home/owner/image-large", "models/image-large"])
def test_decoders_of_another_repository_are_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    monkeypatch.setenv("TRELLIS_MODELS", str(tmp_path / "models"))
    text = write_tiny_model(tmp_path / "home" / "text")
    image = write_tiny_model(tmp_path / place)
    edit_pipeline(text, models={"slat_decoder_gs": "owner/image-large/ckpts/slat_decoder_gs"})
    assert open_folder(text).models["slat_decoder_gs"] == image / "ckpts" / "slat_decoder_gs"


def test_a_decoder_of_a_missing_repository_is_named_when_it_is_read(folder: Path) -> None:
    edit_pipeline(folder, models={"slat_decoder_gs": "owner/absent/ckpts/gs"})
    with pytest.raises(MissingModel, match="absent"):
        read_model(open_folder(folder).models["slat_decoder_gs"])


def test_checksums_are_verified(folder: Path) -> None:
    write_sums(folder)
    open_folder(folder)
    target = folder / "ckpts" / "slat_decoder_gs.safetensors"
    data = bytearray(target.read_bytes())
    data[-1] ^= 1
    target.write_bytes(data)
    with pytest.raises(UserError, match=r"slat_decoder_gs\.safetensors is damaged"):
        open_folder(folder)
    target.unlink()
    with pytest.raises(MissingModel, match=r"slat_decoder_gs\.safetensors is missing"):
        open_folder(folder)


@pytest.mark.parametrize(
    "line", ["not a sum", "\u00e9\udcff", "0" * 64 + "  ../outside", "0" * 63 + "  pipeline.json"]
)
def test_broken_checksums_are_named(folder: Path, line: str) -> None:
    (folder / "SHA256SUMS").write_bytes(line.encode("utf-8", "surrogateescape") + b"\n")
    with pytest.raises(UserError, match="SHA256SUMS has the broken line"):
        open_folder(folder)


def test_hash_names_the_weights(folder: Path, tmp_path: Path) -> None:
    twin = write_tiny_model(tmp_path / "twin")
    other = write_tiny_model(tmp_path / "other", seed=1)
    assert open_folder(folder).hash == open_folder(twin).hash != open_folder(other).hash
    write_sums(folder)
    assert len(open_folder(folder).hash) == 64


def test_hash_with_checksums_changes_with_them(folder: Path) -> None:
    write_sums(folder)
    before = open_folder(folder).hash
    (folder / "ckpts" / "note.json").write_text("{}")
    assert open_folder(folder).hash == before  # a file that SHA256SUMS does not list is none of the model's
    write_sums(folder)
    assert open_folder(folder).hash != before


def test_hash_names_what_another_folder_lends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRELLIS_MODELS", str(tmp_path / "models"))
    text, lender = write_tiny_model(tmp_path / "text"), write_tiny_model(tmp_path / "lender")
    edit_pipeline(text, models={"slat_decoder_gs": "owner/lender/ckpts/slat_decoder_gs"})
    for _ in range(2):  # without sums of its own, and with them
        before = open_folder(text)
        (lender / "README.json").write_text("{}")
        assert open_folder(text).hash == before.hash
        write_model(
            build_model("SLatGaussianDecoder", read_json(lender / "ckpts/slat_decoder_gs.json")["args"]),
            *(lender / "ckpts/slat_decoder_gs", False),
        )
        after = open_folder(text)
        assert after.hash != before.hash and not after.made(before.hash)
        write_sums(text)


def test_hash_stays_where_encoders_come_into_the_folder(folder: Path) -> None:
    before = open_folder(folder).hash
    write_tiny_encoders(folder)
    (folder / "image_cond_model.json").write_text("{}")
    assert open_folder(folder).hash == before
    edit_pipeline(folder, image_cond_model="ckpts/ss_enc")
    assert open_folder(folder).hash != before


def test_assets_of_hashes_as_they_were_counted_before_are_taken() -> None:
    """Of every line of SHA256SUMS and no borrowed file."""
    model = open_folder("starter-text")
    lines = sorted((model.path / "SHA256SUMS").read_text().splitlines(), key=lambda line: line[66:])
    former = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    assert former != model.hash and model.made(former) and model.made(model.hash)
    assert not model.made(open_folder("starter").hash)


@pytest.mark.parametrize("model", ["starter", "starter-text"])
def test_loading_networks_imports_no_compiler(model: str) -> None:
    """torch.compile's machinery takes longer to import than all networks of a bundled model to load."""
    done = subprocess.run([sys.executable, "-c", LOAD_ALL, model], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded, compilers = done.stdout.splitlines()
    assert int(loaded) >= 4 and compilers == "False"


LOAD_ALL = """
import sys, torch
from backend.trellis.networks import Networks
networks = Networks.open(sys.argv[1], torch.device("cpu"), torch.float32)
networks.conditioner
print(len([networks[role] for role in networks.folder.models]))
print("torch._dynamo" in sys.modules)
"""
