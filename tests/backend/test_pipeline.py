"""The whole flow on a complete tiny model folder: picture in, every representation out."""

from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from backend.errors import MissingModel, UserError
from backend.image.decode import open_picture, preprocess
from backend.sampling import SamplerSettings
from backend.server.cancellation import Cancelled
from backend.trellis.engine import TrellisEngine
from backend.trellis.pipeline import Pipeline
from blender_trellis.protocol import Array, Generate, SamplingParams

FORMATS = ("mesh", "gaussian", "radiance_field")


def request_for(model: Path, picture: Path, **changes) -> Generate:
    data = picture.read_bytes()
    chosen = {"seed": 7, "formats": FORMATS, "device": "cpu", "precision": "fp32"} | changes
    return Generate("job", str(model), pictures=(Array("u1", (len(data),), data),), **chosen)


def run(engine: TrellisEngine, request: Generate) -> tuple[dict, list]:
    parts, progress = {}, []
    engine.generate(
        request,
        lambda *step: progress.append(step),
        lambda kind, info, arrays: parts.__setitem__(kind, (info, arrays)),
        lambda: False,
    )
    return parts, progress


def test_every_part_comes_in_order_and_is_sound(tiny_model, picture):
    parts, progress = run(TrellisEngine(), request_for(tiny_model, picture))
    assert list(parts) == ["voxels", "gaussian", "radiance_field", "mesh"]
    coords = parts["voxels"][1]["coords"]
    assert (
        coords.dtype == numpy.int32 and coords.min() >= 0 and coords.max() < parts["voxels"][0]["resolution"]
    )
    assert len(parts["gaussian"][1]["position"]) == 4 * len(coords)
    mesh = parts["mesh"][1]
    assert mesh["faces"].min() == 0 and mesh["faces"].max() == len(mesh["vertices"]) - 1
    assert numpy.isfinite(mesh["vertices"]).all() and abs(mesh["vertices"]).max() <= 0.51
    assert (
        mesh["colors"].shape == mesh["vertices"].shape
        and 0 <= mesh["colors"].min() <= mesh["colors"].max() <= 1
    )
    stages = list(dict.fromkeys(stage for stage, _, _ in progress))
    assert stages == [
        "load",
        "condition",
        "sparse_structure",
        "structured_latent",
        "decode_gaussian",
        "decode_radiance_field",
        "decode_mesh",
    ]
    assert [step for stage, step, _ in progress if stage == "sparse_structure"] == [0, 1, 2, 3]


def test_a_seed_gives_the_same_object_again_and_another_seed_another(tiny_model, picture):
    engine = TrellisEngine()
    first, again, other = (
        run(engine, request_for(tiny_model, picture, seed=seed, formats=("gaussian",)))[0]
        for seed in (3, 3, 4)
    )
    assert numpy.array_equal(first["gaussian"][1]["position"], again["gaussian"][1]["position"])
    assert not numpy.array_equal(first["voxels"][1]["coords"], other["voxels"][1]["coords"])


def test_the_picture_matters(tiny_model, picture, tmp_path):
    turned = tmp_path / "turned.png"
    Image.open(picture).transpose(Image.Transpose.ROTATE_90).save(turned)
    engine = TrellisEngine()
    one, two = (
        run(engine, request_for(tiny_model, path, formats=("gaussian",)))[0]["gaussian"][1]["f_dc"]
        for path in (picture, turned)
    )
    assert one.shape != two.shape or not numpy.allclose(one, two)


def test_a_sentence_becomes_an_object_and_another_one_another(text_model):
    engine = TrellisEngine()
    requests = [
        Generate("job", str(text_model), "cpu", "fp32", prompt=prompt, formats=("gaussian",))
        for prompt in ("a cat", "the hat")
    ]
    one, two = (run(engine, request)[0]["gaussian"][1]["f_dc"] for request in requests)
    assert one.shape != two.shape or not numpy.allclose(one, two)


def test_a_model_takes_what_it_was_made_for(text_model, tiny_model, picture):
    with pytest.raises(UserError, match="sentence"):
        run(TrellisEngine(), request_for(text_model, picture))
    with pytest.raises(UserError, match="pictures"):
        run(TrellisEngine(), Generate("job", str(tiny_model), "cpu", "fp32", prompt="a cat"))


@pytest.mark.parametrize("mode", ["stochastic", "multidiffusion"])
def test_several_pictures_of_one_object(tiny_model, picture, mode):
    data = picture.read_bytes()
    twice = (Array("u1", (len(data),), data),) * 2
    request = Generate(
        "job", str(tiny_model), "cpu", "fp32", twice, seed=7, formats=("gaussian",), multi_image=mode
    )
    parts, _ = run(TrellisEngine(), request)
    alone, _ = run(TrellisEngine(), request_for(tiny_model, picture, formats=("gaussian",)))
    assert numpy.allclose(parts["gaussian"][1]["position"], alone["gaussian"][1]["position"], atol=1e-4)


def test_a_job_taken_back_stops_within_one_step(tiny_model, picture):
    calls = []

    def on_progress(stage, step, steps):
        calls.append((stage, step))
        if (stage, step) == ("sparse_structure", 1):
            raise Cancelled

    with pytest.raises(Cancelled):
        TrellisEngine().generate(
            request_for(tiny_model, picture), on_progress, lambda *part: None, lambda: False
        )
    assert calls[-1] == ("sparse_structure", 1)


def test_an_empty_structure_is_one_sentence(tiny_model, picture):
    pipeline = Pipeline.open(tiny_model, torch.device("cpu"), torch.float32)
    with torch.no_grad():
        pipeline.model("sparse_structure_decoder").out_layer[2].bias.fill_(-1e4)
    with pytest.raises(UserError, match="no shape"):
        pipeline.decode_structure(torch.zeros(1, 4, 4, 4, 4))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"formats": ()}, "format"),
        ({"seed": -1}, "seed"),
        ({"device": "cuda:7"}, "no device"),
        ({"precision": "fp8"}, "precision"),
        ({"precision": "fp16"}, "fp16"),
        ({"sparse_structure": SamplingParams(steps=0)}, "steps"),
        ({"structured_latent": SamplingParams(strength=0.5)}, "start"),
        ({"multi_image": "both"}, "several pictures"),
    ],
)
def test_requests_that_cannot_be_are_one_sentence(tiny_model, picture, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        run(TrellisEngine(), request_for(tiny_model, picture, **changes))


def test_hello_tells_of_downloaded_models_too(tiny_model, monkeypatch):
    monkeypatch.setenv("TRELLIS_MODELS", str(tiny_model.parent))
    assert {"starter", "tiny"} <= {one.name for one in TrellisEngine().hello().models}


def test_an_absent_model_is_said_to_be_missing(picture):
    with pytest.raises(MissingModel):
        run(TrellisEngine(), request_for(Path("/nowhere/at/all"), picture))


def test_a_start_latent_at_small_strength_stays_near_it(tiny_model, picture):
    pipeline = Pipeline.open(tiny_model, torch.device("cpu"), torch.float32)
    condition = pipeline.condition_on_pictures([preprocess(open_picture(picture), lambda image: image)])
    start = torch.randn(1, 4, 4, 4, 4)
    near, far = (
        pipeline.sample_structure_latent(
            replace(condition, structure_start=start),
            SamplerSettings(2, 1.0, 0.0, strength=strength),
            torch.Generator().manual_seed(0),
        )
        for strength in (0.01, 1.0)
    )
    assert (near - start).abs().mean() < 0.1 < (far - start).abs().mean()


def test_the_models_own_sigma_min_is_applied_where_the_start_is_noised(tiny_model, picture):
    pipeline = Pipeline.open(tiny_model, torch.device("cpu"), torch.float32)
    condition = pipeline.condition_on_pictures([preprocess(open_picture(picture), lambda image: image)])
    start = torch.randn(1, 4, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(1, 4, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    for sigma in (1e-5, 0.25):
        seen = []
        flow = pipeline.model("sparse_structure_flow_model")
        hook = flow.register_forward_pre_hook(
            lambda module, inputs, seen=seen: seen.append(inputs[0].clone())
        )
        settings = SamplerSettings(1, 1.0, 0.0, strength=0.5, sigma_min=sigma)
        given = replace(condition, structure_start=start)
        pipeline.sample_structure_latent(given, settings, torch.Generator().manual_seed(0))
        hook.remove()
        torch.testing.assert_close(seen[0], 0.5 * start + (sigma + (1 - sigma) * 0.5) * noise)


def test_bf16_and_fp32_agree_roughly(tiny_model, picture):
    engine = TrellisEngine()
    full, half = (
        run(engine, request_for(tiny_model, picture, precision=one, formats=("gaussian",)))[0]["voxels"][1][
            "coords"
        ]
        for one in ("fp32", "bf16")
    )
    common = {tuple(v) for v in full} & {tuple(v) for v in half}
    assert len(common) > 0.9 * max(len(full), len(half))
