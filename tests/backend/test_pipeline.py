"""The whole flow on a complete tiny model folder: picture in, every representation out."""

from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from backend.errors import MissingModel, UserError
from backend.image import open_picture, preprocess
from backend.sampling import SamplerSettings
from backend.server.cancellation import Cancelled
from backend.trellis.decoding import Voxels
from backend.trellis.engine import TrellisEngine
from backend.trellis.generate import generate
from backend.trellis.networks import Networks
from backend.trellis.stages import Output, Settings, Step
from blender_trellis.protocol import Array, Generate, SamplingParams

FORMATS = ("mesh", "gaussian", "radiance_field")


def request_for(model: Path, picture: Path, **changes) -> Generate:
    data = picture.read_bytes()
    chosen = {"seed": 7, "formats": FORMATS, "device": "cpu", "precision": "fp32"} | changes
    return Generate("job", str(model), pictures=(Array("u1", (len(data),), data),), **chosen)


def run(engine: TrellisEngine, request: Generate) -> tuple[dict, list]:
    parts, progress = {}, []
    engine.run(
        request,
        lambda *step: progress.append(step),
        lambda kind, info, arrays: parts.__setitem__(kind, (info, arrays)),
    )
    return parts, progress


def test_every_part_comes_in_order_and_is_sound(tiny_model, picture):
    parts, progress = run(TrellisEngine(), request_for(tiny_model, picture))
    assert list(parts) == [
        "structure_latent",
        "voxels",
        "structured_latent",
        "gaussian",
        "radiance_field",
        "mesh",
    ]
    latent = parts["structured_latent"][1]
    assert numpy.array_equal(latent["coords"], parts["voxels"][1]["coords"])
    assert len(latent["feats"]) == len(latent["coords"]) and numpy.isfinite(latent["feats"]).all()
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
        "decode_sparse_structure",
        "structured_latent",
        "decode_gaussian",
        "decode_radiance_field",
        "decode_mesh",
        "extract_mesh",
    ]
    for stage in stages:
        done = [step / steps for of, step, steps in progress if of == stage]
        assert done == sorted(done)
    steps = [step for stage, step, _ in progress if stage == "sparse_structure"]
    assert list(dict.fromkeys(steps)) == [0, 1, 2, 3]


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
        *("job", str(tiny_model), "cpu", "fp32"),
        pictures=twice,
        seed=7,
        formats=("gaussian",),
        multi_image=mode,
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
        TrellisEngine().run(request_for(tiny_model, picture), on_progress, lambda *part: None)
    assert calls[-1] == ("sparse_structure", 1)


@pytest.mark.parametrize(
    "stage", ["decode_sparse_structure", "decode_gaussian", "decode_mesh", "extract_mesh"]
)
def test_a_job_taken_back_stops_within_a_decoder(tiny_model, picture, stage):
    calls = []

    def on_progress(*progress):
        calls.append(progress)
        if progress[0] == stage and len(calls) > 1 and calls[-2][0] == stage:
            raise Cancelled

    engine = TrellisEngine()
    with pytest.raises(Cancelled):
        engine.run(request_for(tiny_model, picture), on_progress, lambda *part: None)
    assert calls[-1][0] == stage and calls[-1][1] < calls[-1][2]
    assert run(engine, request_for(tiny_model, picture))[0].keys() >= {"mesh"}


def test_an_empty_structure_is_one_sentence(tiny_model, picture):
    networks = Networks.open(tiny_model, torch.device("cpu"), torch.float32)
    with torch.no_grad():
        networks["sparse_structure_decoder"].out_layer[2].bias.fill_(-1e4)
    pictures = [preprocess(open_picture(picture), lambda image: image)]
    with pytest.raises(UserError, match="no shape"):
        list(generate(networks, pictures, settings_of(networks), torch.Generator()))


def settings_of(networks: Networks, **changes) -> Settings:
    folder = networks.folder
    return replace(Settings(folder.structure_sampler, folder.slat_sampler, ("gaussian",)), **changes)


def test_steps_hand_on_the_sample_and_the_estimate_of_the_data(tiny_model, picture):
    networks = Networks.open(tiny_model, torch.device("cpu"), torch.float32)
    pictures = [preprocess(open_picture(picture), lambda image: image)]
    events = list(generate(networks, pictures, settings_of(networks), torch.Generator().manual_seed(3)))
    outputs = {one.kind: one.value for one in events if isinstance(one, Output)}
    steps = [one for one in events if isinstance(one, Step) and one.stage == "sparse_structure" and one.step]
    assert [one.step for one in steps] == [1, 2, 3]
    # The last Euler step goes to t = 0 along the velocity that the estimate is made of.
    assert torch.allclose(steps[-1].x0, outputs["structure_latent"], atol=1e-4)
    assert torch.equal(steps[-1].x, outputs["structure_latent"])


def test_two_samples_are_those_that_their_noise_makes(tiny_model, picture):
    """Samples share one draw of noise, and each is decoded on its own."""
    networks = Networks.open(tiny_model, torch.device("cpu"), torch.float32)
    pictures = [preprocess(open_picture(picture), lambda image: image)]
    events = generate(networks, pictures, settings_of(networks, samples=2), torch.Generator().manual_seed(3))
    outputs = {(one.kind, one.sample): one.value for one in events if isinstance(one, Output)}
    alone = generate(networks, pictures, settings_of(networks), torch.Generator().manual_seed(3))
    first = next(one.value for one in alone if isinstance(one, Output) and one.kind == "structure_latent")
    assert torch.allclose(outputs["structure_latent", 0], first, atol=1e-4)  # a batch is summed otherwise
    assert not torch.equal(outputs["structure_latent", 1], first)
    assert len(outputs["gaussian", 1].position) == 4 * len(outputs["voxels", 1].coords)


def test_a_given_shape_keeps_its_voxels(tiny_model, picture):
    networks = Networks.open(tiny_model, torch.device("cpu"), torch.float32)
    pictures = [preprocess(open_picture(picture), lambda image: image)]
    resolution = networks["slat_flow_model"].config.resolution
    shape = Voxels(torch.tensor([[0, 1, 2], [3, 2, 1]], dtype=torch.int32), resolution, torch.empty(0))
    events = list(
        generate(networks, pictures, settings_of(networks), torch.Generator().manual_seed(3), voxels=[shape])
    )
    outputs = {one.kind: one.value for one in events if isinstance(one, Output)}
    assert "structure_latent" not in outputs
    assert torch.equal(outputs["structured_latent"].coords, shape.coords)


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
    networks = Networks.open(tiny_model, torch.device("cpu"), torch.float32)
    condition = networks.conditioner.from_pictures([preprocess(open_picture(picture), lambda image: image)])
    start = torch.randn(1, 4, 4, 4, 4)

    def structure(strength: float) -> torch.Tensor:
        sampler = SamplerSettings(2, 1.0, 0.0, strength=strength)
        events = generate(
            networks,
            replace(condition, structure_start=start),
            settings_of(networks, structure=sampler),
            torch.Generator().manual_seed(0),
        )
        return next(one.value for one in events if isinstance(one, Output))

    near, far = structure(0.01), structure(1.0)
    assert (near - start).abs().mean() < 0.1 < (far - start).abs().mean()


def test_the_models_own_sigma_min_is_applied_where_the_start_is_noised(tiny_model, picture):
    networks = Networks.open(tiny_model, torch.device("cpu"), torch.float32)
    condition = networks.conditioner.from_pictures([preprocess(open_picture(picture), lambda image: image)])
    start = torch.randn(1, 4, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(1, 4, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    for sigma in (1e-5, 0.25):
        seen = []
        hook = networks["sparse_structure_flow_model"].register_forward_pre_hook(
            lambda module, inputs, seen=seen: seen.append(inputs[0].clone())
        )
        sampler = SamplerSettings(1, 1.0, 0.0, strength=0.5, sigma_min=sigma)
        events = generate(
            networks,
            replace(condition, structure_start=start),
            settings_of(networks, structure=sampler),
            torch.Generator().manual_seed(0),
        )
        next(one for one in events if isinstance(one, Output))
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
