"""The flow with a spatially aligned condition: what it knows before it is trained, and what it may read."""

import pytest
import torch
from training_recipe import awakened, tiny_recipe

from backend.checkpoints.weights import read_model, write_model
from backend.errors import UserError
from backend.lifting.aligned_flow import AlignedStructureFlowModel
from backend.sampling import conditioned, flow_euler, timesteps
from backend.training.flows import FlowTraining, StructureExamples, fit_prior, structure_flow_part
from backend.training.losses import flow_matching_loss, kept_cells
from backend.training.starter.recipe import Recipe
from backend.training.starter.stored_examples import StoredExamples

SIZE, LATENT, VOLUME = 8, 8, 24


def new_flow(awake: bool = False) -> AlignedStructureFlowModel:
    torch.manual_seed(0)
    model = AlignedStructureFlowModel.from_args(tiny_recipe().structure_flow)
    return (awakened(model) if awake else model).eval()


def given(count: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randn(count, 6, 64, generator=generator)
    return tokens, torch.randn(count, VOLUME, *(SIZE,) * 3, generator=generator)


@torch.no_grad()
def test_untrained_it_carries_noise_to_the_distribution_that_it_reads_from_the_volume():
    model, (tokens, volume) = new_flow(), given()
    with torch.no_grad():
        model.prior_head[-1].bias[:LATENT] = 0.5  # beside the guess
        model.prior_head[-1].bias[LATENT:] = -2.0
    times = timesteps(100)
    velocity = conditioned(model, model.aligned_context(tokens, volume), model.timetable(times[:-1]))
    noise = torch.randn(1, LATENT, *(SIZE,) * 3, generator=torch.Generator().manual_seed(2))
    beside = flow_euler(velocity, noise, times) - volume[:, :LATENT]
    assert beside.mean() == pytest.approx(0.5, abs=0.02)
    assert beside.std() == pytest.approx(float(torch.tensor(-1.0).exp()), rel=0.05)
    # Noise and data keep their order, as along straight paths of one normal distribution.
    assert torch.corrcoef(torch.stack([beside.flatten(), noise.flatten()]))[0, 1] > 0.99


@torch.no_grad()
def test_times_of_a_schedule_are_the_times_themselves():
    model, (tokens, volume) = new_flow(awake=True), given()
    context = model.aligned_context(tokens, volume)
    x = torch.randn(1, LATENT, *(SIZE,) * 3)
    expected = model(x, torch.tensor([700.0]), context)
    assert torch.allclose(model(x, model.timetable((0.9, 0.7))[0.7], context), expected, atol=1e-5)


@torch.no_grad()
def test_it_reads_the_kept_latent_and_nothing_of_what_is_free():
    model, (tokens, volume) = new_flow(awake=True), given()
    x, data = torch.randn(2, 1, LATENT, *(SIZE,) * 3)
    kept = torch.zeros(1, 1, *(SIZE,) * 3)
    kept[..., :4] = 1
    t = torch.tensor([500.0])

    def velocity(latent: torch.Tensor) -> torch.Tensor:
        return model(x, t, model.aligned_context(tokens, volume, latent, kept))

    assert torch.equal(velocity(data), velocity(torch.where(kept.bool(), data, 9.0)))
    assert not torch.allclose(velocity(data), velocity(data + 1))
    both = model.aligned_context(tokens, volume).beside(model.aligned_context(tokens * 0, None))
    pair = model(x.expand(2, *x.shape[1:]), t.expand(2), both)
    assert torch.allclose(pair[:1], model(x, t, model.aligned_context(tokens, volume)), atol=1e-5)
    assert torch.allclose(pair[1:], model(x, t, model.aligned_context(tokens * 0, None)), atol=1e-5)


def test_it_is_written_and_read_under_its_own_name(tmp_path):
    model = new_flow(awake=True)
    write_model(model, tmp_path / "flow", half=False)
    again = read_model(tmp_path / "flow")
    assert isinstance(again, AlignedStructureFlowModel) and again.config == model.config
    for change in ({"aligned_channels": 4}, {"out_channels": 4}):
        with pytest.raises(UserError, match="AlignedStructureFlowModel"):
            AlignedStructureFlowModel.from_args(tiny_recipe().structure_flow | change)


def test_the_prior_learns_how_far_the_guess_is_off():
    model, (_, volume) = new_flow(), given(4)
    noise = torch.randn(4, LATENT, *(SIZE,) * 3, generator=torch.Generator().manual_seed(3))
    fit_prior(model, lambda number: (volume, volume[:, :LATENT] + 0.3 + 0.2 * noise), 150)
    mean, variance = (one.detach() for one in model.prior(volume))
    assert (mean - volume[:, :LATENT]).mean() == pytest.approx(0.3, abs=0.05)
    assert variance.sqrt().mean() == pytest.approx(0.2, rel=0.2)


def test_kept_cells_surround_one_box_in_their_share_of_the_samples():
    kept = kept_cells(400, 16, 0.3, torch.Generator().manual_seed(0))
    assert kept.shape == (400, 1, 16, 16, 16) and set(kept.unique().tolist()) == {0.0, 1.0}
    some = [one[0] for one in kept if one.any()]
    assert len(some) / 400 == pytest.approx(0.3, abs=0.07)
    for one in some:
        free = torch.argwhere(one == 0)
        sides = free.amax(0) - free.amin(0) + 1
        assert len(free) == sides.prod() and sides.min() >= 3


def test_the_loss_looks_at_free_cells_alone():
    x0, noise = torch.zeros(1, 2, 2, 2, 2), torch.ones(1, 2, 2, 2, 2)
    velocity, kept = torch.ones(1, 2, 2, 2, 2), torch.zeros(1, 1, 2, 2, 2)
    velocity[..., 0] = 7.0
    kept[..., 0] = 1
    assert flow_matching_loss(velocity, x0, noise, kept) == pytest.approx(0, abs=1e-6)
    assert flow_matching_loss(velocity, x0, noise) == pytest.approx(18, abs=1e-2)


def test_left_out_conditions_leave_nothing_of_the_picture():
    model, (tokens, volume) = new_flow(awake=True), given(3)
    latents = torch.randn(3, LATENT, *(SIZE,) * 3)

    def loss(tokens: torch.Tensor, volume: torch.Tensor) -> float:
        part = structure_flow_part(model, lambda number: None, FlowTraining(drop=1.0))
        example = StructureExamples(tokens, latents, None, volume)
        return part.loss(example, torch.Generator().manual_seed(0))[0].item()

    assert loss(tokens, volume) == loss(tokens + 1, volume * 2)


def test_examples_are_made_once_and_come_again(tmp_path):
    made = []

    def make(number: int) -> StructureExamples:
        made.append(number)
        return StructureExamples(*(torch.full((1, 2), float(number)) for _ in range(2)), None, torch.ones(1))

    stored = StoredExamples(tmp_path / "stored", StructureExamples, make)
    first = [float(stored(number).tokens[0, 0]) for number in range(600)]
    assert first[:160] == list(range(160)) and len(set(made)) == len(made) < 260
    again = StoredExamples(tmp_path / "stored", StructureExamples, make)
    assert [float(again(number).tokens[0, 0]) for number in range(600)] == first
    assert len(set(made)) == len(made)


def test_the_recipe_gives_the_flow_what_the_encoder_makes():
    recipe = Recipe()
    channels = recipe.structure_encoder["latent_channels"] + recipe.lifting.volume_channels[0]
    assert recipe.structure_flow["aligned_channels"] == channels
