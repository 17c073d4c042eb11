"""The flow of the structured latent with an aligned condition, and the examples that it learns from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from training_recipe import awakened, tiny_recipe

from backend.checkpoints.weights import read_model, write_model
from backend.lifting.aligned_flow import AlignedSLatFlowModel
from backend.lifting.image_encoder import LiftingEncoderConfig, LiftingImageEncoder, outline_of
from backend.sampling import conditioned, flow_euler, timesteps
from backend.training.flows import FlowTraining, LatentExamples, latent_flow_part
from backend.training.starter.autoencoder_latent import LatentAutoencoder, LatentTargets
from backend.training.starter.batches import LookBatch
from backend.training.starter.looks import look_examples
from backend.training.starter.solids import solid_gaussians
from backend.training.starter.stored_examples import StoredExamples

LATENT, GIVEN = 8, 25


def new_flow(awake: bool = False) -> AlignedSLatFlowModel:
    torch.manual_seed(0)
    model = AlignedSLatFlowModel.from_args(tiny_recipe().latent_flow)
    return (awakened(model) if awake else model).eval()


def voxels(size: int = 12) -> torch.Tensor:
    axis = torch.arange(2, 2 + size)
    return torch.cartesian_prod(axis, axis, axis).int()


def test_untrained_it_carries_noise_to_the_distribution_that_it_reads_of_each_voxel():
    model, coords = new_flow(), voxels()
    with torch.no_grad():
        model.prior_head[-1].bias[:LATENT] = 0.5  # beside the guess
        model.prior_head[-1].bias[LATENT:] = -2.0
        given = torch.randn(len(coords), GIVEN, generator=torch.Generator().manual_seed(1))
        context = model.on_voxels(model.context(torch.randn(1, 6, 64)), given)
        times, structure = timesteps(100), model.structure(coords)
        velocity = conditioned(
            lambda x, t, context: model(x, t, context, structure), context, model.timetable(times[:-1])
        )
        noise = torch.randn(len(coords), LATENT, generator=torch.Generator().manual_seed(2))
        beside = flow_euler(velocity, noise, times) - given[:, :LATENT]
    assert beside.mean() == pytest.approx(0.5, abs=0.02)
    assert beside.std() == pytest.approx(float(torch.tensor(-1.0).exp()), rel=0.05)


@torch.no_grad()
def test_it_reads_the_kept_latents_and_nothing_of_what_is_free():
    model, coords = new_flow(awake=True), voxels(4)
    given, tokens, x = (
        torch.randn(len(coords), GIVEN),
        torch.randn(1, 6, 64),
        torch.randn(len(coords), LATENT),
    )
    kept = (coords[:, :1] < 4).float()

    def velocity(data: torch.Tensor) -> torch.Tensor:
        context = model.on_voxels(model.context(tokens), given, data, kept)
        return model(x, torch.tensor([500.0]), context, model.structure(coords))

    data = torch.randn(len(coords), LATENT)
    assert torch.equal(velocity(data), velocity(data + 3 * (1 - kept)))
    assert not torch.allclose(velocity(data), velocity(data + 3 * kept))


def test_it_is_written_and_read_under_its_own_name(tmp_path):
    write_model(new_flow(awake=True), tmp_path / "flow", half=True)
    assert '"AlignedSLatFlowModel"' in (tmp_path / "flow.json").read_text()
    assert isinstance(read_model(tmp_path / "flow"), AlignedSLatFlowModel)


def test_without_conditions_the_picture_means_nothing_to_the_loss():
    model, coords = new_flow(awake=True), voxels(4)
    latents = torch.randn(len(coords), LATENT)

    def loss(tokens: torch.Tensor, given: torch.Tensor, drop: float) -> float:
        examples = LatentExamples(tokens, (coords,), (latents,), None, (given,))
        part = latent_flow_part(model, lambda number: examples, FlowTraining(drop=drop))
        return float(part.loss(examples, torch.Generator().manual_seed(4))[0].detach())

    one, other = ((torch.randn(1, 6, 64), torch.randn(len(coords), GIVEN)) for _ in range(2))
    assert loss(*one, 1.0) == loss(*other, 1.0)
    assert loss(*one, 0.0) != loss(*other, 0.0)


def test_of_two_walls_behind_each_other_the_far_one_is_hidden():
    outline = outline_of(LiftingEncoderConfig(), torch.ones(128, 128))
    x, z = (
        one.flatten() for one in torch.meshgrid(torch.arange(10, 22), torch.arange(10, 22), indexing="ij")
    )
    near, far = (torch.stack([x, torch.full_like(x, y), z], dim=1) for y in (6, 24))
    behind = outline.behind(torch.cat([near, far]), 32)
    assert behind[: len(near)].max() < 0.2
    # The camera looks down a little, over the near wall at the far one's top.
    assert (behind[len(near) :][z < 14] > 0.9).float().mean() > 0.8


def test_gaussians_of_a_ball_belong_on_it():
    axis = torch.linspace(-0.5, 0.5, 33)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    distance = ((x**2 + y**2 + z**2).sqrt() - 0.3) * 16  # in half voxels of a grid of 8
    tints = np.zeros((3, 8, 8, 8), np.uint8)
    tints[0, 4:] = 200  # one half is red
    coords = np.argwhere(np.ones((8, 8, 8), bool))
    found = solid_gaussians(distance, tints, coords, np.full((1, 3), 0.5))
    centre = torch.from_numpy((coords + 0.5) / 8 - 0.5).float()
    reached = (centre.norm(dim=1) - 0.3).abs() < 0.5 / 8
    assert found.visible[reached].float().mean() > 0.95
    assert not found.visible[(centre.norm(dim=1) - 0.3).abs() > 1.8 / 8].any()
    place = found.position[found.visible]
    assert torch.allclose(place.norm(dim=1), torch.tensor(0.3 - 0.4 / 8), atol=0.01)  # a little within
    assert (found.normal[found.visible] * F.normalize(place, dim=1)).sum(1).min() > 0.97
    right, left = (
        found.color[found.visible & (found.position[:, 0] > 0.1)],
        found.color[found.visible & (found.position[:, 0] < -0.1)],
    )
    assert right[:, 0].min() > 0.7 and left.max() < 0.05


def test_examples_know_the_solid_and_guess_its_colours(tmp_path):
    recipe = tiny_recipe()
    torch.manual_seed(0)
    lifting, autoencoder = LiftingImageEncoder(recipe.lifting).eval(), LatentAutoencoder(recipe).eval()
    awakened(autoencoder)
    latents = LatentTargets(autoencoder, torch.zeros(LATENT), torch.ones(LATENT))
    coords = voxels(4)
    features = torch.rand(len(coords), recipe.latent_encoder["in_channels"]) * 0.9
    solid = np.zeros((16,) * 3, bool)
    solid[4:12, 4:12, 4:12] = True
    picture = torch.zeros(1, 4, 32, 32, dtype=torch.uint8)
    picture[:, :, 8:24, 8:24] = 255
    batch = LookBatch(picture, torch.from_numpy(np.packbits(solid))[None], (coords,), (features.half(),))
    with torch.no_grad():
        examples = look_examples(lifting, latents, batch)
        other = look_examples(lifting, latents, replace(batch, features=(features.half().flip(0),)))
    (given,) = examples.aligned
    assert given.shape == (len(coords), GIVEN) and examples.tokens.shape[2] == 64
    assert not torch.equal(given[:, :LATENT], examples.latents[0])  # other colours than the true ones
    assert not torch.equal(given[:, :LATENT], other.aligned[0][:, :LATENT])  # but the true shape
    assert torch.equal(given[:, LATENT:], other.aligned[0][:, LATENT:])
    stored = StoredExamples(tmp_path, LatentExamples, lambda number: examples)
    stored(0)
    again = stored(0)
    assert torch.equal(again.coords[0], coords) and again.null is None
    assert torch.allclose(again.aligned[0].float(), given, atol=1e-2)
