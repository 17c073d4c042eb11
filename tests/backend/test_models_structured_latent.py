"""The structured-latent networks: order of voxels, options, levels, precision, start values."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from backend.checkpoints.weights import build_model
from backend.errors import UserError
from backend.models.structured_latent_flow import SLatFlowModel
from backend.models.structured_latent_mesh_decoder import SLatMeshDecoder
from backend.models.structured_latent_vae import (
    SLatEncoder,
    SLatGaussianDecoder,
    SLatRadianceFieldDecoder,
    offset_perturbation,
)

FLOW = {
    "resolution": 16,
    "in_channels": 3,
    "out_channels": 5,
    "model_channels": 24,
    "cond_channels": 10,
    "num_blocks": 2,
    "num_heads": 3,
    "mlp_ratio": 2,
    "patch_size": 2,
    "io_block_channels": [8],
}
TRUNK = {
    "resolution": 16,
    "model_channels": 24,
    "latent_channels": 4,
    "num_blocks": 3,
    "num_heads": 3,
    "mlp_ratio": 2,
    "window_size": 4,
}
VARIANTS = [
    {},
    {"patch_size": 4, "io_block_channels": [8, 16]},
    {"patch_size": 1, "io_block_channels": None},
    {"patch_size": 1, "io_block_channels": []},
    {"num_io_res_blocks": 1},
    {"num_io_res_blocks": 3},
    {"use_skip_connection": False},
    {"patch_size": 4, "io_block_channels": [8, 16], "use_skip_connection": False},
    {"share_mod": True},
    {"qk_rms_norm": True, "qk_rms_norm_cross": True},
]


def awake(module: nn.Module) -> nn.Module:
    """Every parameter random, so that nothing is hidden by a zero."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module


def some_coords(count: int = 120, resolution: int = 12) -> Tensor:
    keys = torch.randperm(resolution**3, generator=torch.Generator().manual_seed(0))[:count]
    coords = [keys // resolution**2, keys // resolution % resolution, keys % resolution]
    return torch.stack(coords, 1).int()


def velocity(model: SLatFlowModel, coords: Tensor, feats: Tensor, cond: Tensor) -> Tensor:
    return model(feats, torch.tensor([250.0]), model.context(cond), model.structure(coords))


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_order_of_voxels_does_not_matter_to_the_flow(options: dict) -> None:
    model = awake(SLatFlowModel.from_args(FLOW | options))
    coords, cond = some_coords(), torch.randn(1, 5, 10)
    feats, order = torch.randn(len(coords), 3), torch.randperm(len(coords))
    with torch.no_grad():
        straight = velocity(model, coords, feats, cond)
        shuffled = velocity(model, coords[order], feats[order], cond)
    assert straight.shape == (len(coords), 5)
    assert straight.std() > 0.01
    torch.testing.assert_close(shuffled, straight[order], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_training_reaches_every_parameter_of_the_flow(options: dict) -> None:
    model = awake(SLatFlowModel.from_args(FLOW | options | {"use_checkpoint": True})).train()
    velocity(model, some_coords(), torch.randn(120, 3), torch.randn(1, 5, 10)).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_position_is_that_of_the_coarse_voxels() -> None:
    model = SLatFlowModel.from_args(FLOW)
    structure = model.structure(some_coords())
    assert structure.coarse_coords.max() < 6
    assert structure.position_embedding.shape == (len(structure.coarse_coords), 24)


def test_widths_of_the_levels() -> None:
    model = SLatFlowModel.from_args(FLOW | {"patch_size": 4, "io_block_channels": [8, 16]})
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    into = [shapes[f"input_blocks.{n}.conv1.conv.weight"][::4] for n in range(4)]
    back = [shapes[f"out_blocks.{n}.conv1.conv.weight"][::4] for n in range(4)]
    assert into == [(8, 8), (16, 8), (16, 16), (24, 16)]
    assert back == [(16, 48), (16, 32), (8, 32), (8, 16)]


def test_a_fresh_flow_has_zero_velocity() -> None:
    model = SLatFlowModel.from_args(FLOW)
    assert velocity(model, some_coords(), torch.randn(120, 3), torch.randn(1, 5, 10)).abs().max() == 0
    assert model.input_blocks[0].conv2.conv.weight.abs().max() == 0


def on_meta(value: object) -> object:
    """The same tables without their numbers: whatever asks for one fails."""
    if isinstance(value, Tensor):
        return value.to("meta")
    if isinstance(value, tuple):
        return tuple(on_meta(part) for part in value)
    if dataclasses.is_dataclass(value):
        fields = {field.name: on_meta(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return type(value)(**fields)
    return value


def test_a_step_of_the_flow_never_waits_for_the_device() -> None:
    model = SLatFlowModel.from_args(FLOW)
    structure = on_meta(model.structure(some_coords()))
    model.to("meta")
    out = model(
        torch.empty(120, 3, device="meta"),
        torch.empty(1, device="meta"),
        model.context(torch.empty(1, 5, 10, device="meta")),
        structure,
    )
    assert out.shape == (120, 5)


@pytest.mark.parametrize("share_mod", [False, True])
def test_a_schedule_computed_at_once_gives_the_same_velocity(share_mod: bool) -> None:
    model = awake(SLatFlowModel.from_args(FLOW | {"share_mod": share_mod}))
    coords, feats = some_coords(), torch.randn(120, 3)
    structure, context = model.structure(coords), model.context(torch.randn(1, 5, 10))
    with torch.no_grad():
        times = model.timetable([1.0, 0.7, 0.2])
        for t, ready in times.items():
            expected = model(feats, torch.full((1,), 1000.0 * t), context, structure)
            velocity = model(feats, ready, context, structure)
            assert (velocity - expected).abs().max() <= 2e-6 * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_torso_stays_close(dtype: torch.dtype) -> None:
    coords, feats, cond = some_coords(), torch.randn(120, 3), torch.randn(1, 5, 10)
    with torch.no_grad():
        exact = velocity(awake(SLatFlowModel.from_args(FLOW)), coords, feats, cond)
        half = velocity(awake(SLatFlowModel.from_args(FLOW)).to_precision(dtype), coords, feats, cond)
    assert half.dtype == torch.float32
    assert (half - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize(
    "options", [{}, {"attn_mode": "full", "window_size": None}, {"qk_rms_norm": True}], ids=str
)
def test_encoder_and_its_posterior(options: dict) -> None:
    model = awake(SLatEncoder.from_args(TRUNK | options | {"in_channels": 7}))
    coords, feats = some_coords(), torch.randn(120, 7)
    order = torch.randperm(120)
    with torch.no_grad():
        mean, logvar = model(feats, model.structure(coords))
        shuffled, _ = model(feats[order], model.structure(coords[order]))
    assert mean.shape == logvar.shape == (120, 4)
    torch.testing.assert_close(shuffled, mean[order], atol=1e-4, rtol=1e-4)


def test_one_window_over_everything_is_full_attention() -> None:
    weights = awake(SLatEncoder.from_args(TRUNK | {"in_channels": 7})).state_dict()
    coords, feats = some_coords(), torch.randn(120, 7)
    means = []
    for options in ({"attn_mode": "full"}, {"window_size": 64}):
        model = SLatEncoder.from_args(TRUNK | options | {"in_channels": 7})
        model.load_state_dict(weights)
        means.append(model(feats, model.structure(coords))[0])
    torch.testing.assert_close(*means, atol=1e-4, rtol=1e-4)


def test_odd_blocks_shift_their_windows() -> None:
    model = SLatEncoder.from_args(TRUNK | {"in_channels": 7})
    # Two voxels share a shifted window only, so the second block alone lets one see the other.
    coords = torch.tensor([[3, 0, 0], [4, 0, 0]])
    seen = []
    for block in awake(model).blocks:
        block.register_forward_hook(lambda _module, inputs, output: seen.append((inputs[0], output)))
    for last in (0.0, 1.0):
        feats = torch.zeros(2, 7)
        feats[1] = last
        model(feats, model.structure(coords))
    first_block, second_block = (seen[3 + n][1][0, 0] - seen[n][1][0, 0] for n in (0, 1))
    assert first_block.abs().max() < 1e-6
    assert second_block.abs().max() > 1e-4


def test_decoders_give_as_many_numbers_as_their_representation_takes() -> None:
    coords, feats = some_coords(), torch.randn(120, 4)
    gaussian = SLatGaussianDecoder.from_args(TRUNK | {"representation_config": {"num_gaussians": 4}})
    assert gaussian(feats, gaussian.structure(coords)).shape == (120, 56)
    radiance = SLatRadianceFieldDecoder.from_args(TRUNK | {"representation_config": {"rank": 4, "dim": 3}})
    assert radiance(feats, radiance.structure(coords)).shape == (120, 4 * 9 + 4 + 12)


@pytest.mark.parametrize(("color", "channels"), [(True, 101), (False, 53)])
def test_mesh_decoder_refines_twice(color: bool, channels: int) -> None:
    args = TRUNK | {"model_channels": 256, "num_heads": 4, "representation_config": {"use_color": color}}
    model = awake(SLatMeshDecoder.from_args(args))
    coords, feats = some_coords(count=9), torch.randn(9, 4)
    with torch.no_grad():
        fine, raw = model(feats, model.structure(coords))
    assert raw.shape == (64 * 9, channels)
    assert torch.equal(fine[::64] // 4, coords.long())
    assert len(torch.unique(fine, dim=0)) == 64 * 9
    assert fine[:9].tolist() == [
        [4 * x + i, 4 * y + j, 4 * z + k]
        for x, y, z in coords[:1].tolist()
        for i, j, k in [
            (0, 0, 0),
            (0, 0, 1),
            (0, 1, 0),
            (0, 1, 1),
            (1, 0, 0),
            (1, 0, 1),
            (1, 1, 0),
            (1, 1, 1),
            (0, 0, 2),
        ]
    ]


def test_training_reaches_every_parameter_of_the_mesh_decoder() -> None:
    args = TRUNK | {"model_channels": 256, "num_heads": 4, "use_checkpoint": True}
    model = awake(SLatMeshDecoder.from_args(args)).train()
    model(torch.randn(9, 4), model.structure(some_coords(count=9)))[1].square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_perturbation_spreads_the_gaussians_of_a_voxel() -> None:
    offsets = offset_perturbation(32, 1.5)
    expected = [[-0.8047, -0.8047, -0.8047], [-0.7332, 0.0, -0.2260], [-0.6675, -0.3466, 0.2260]]
    torch.testing.assert_close(offsets[:3], torch.tensor(expected), atol=1e-4, rtol=0)
    places = 0.5 + 0.5 * 1.5 * offsets.tanh()
    assert places.min() >= -1e-6 and places.max() < 1


@pytest.mark.parametrize(
    ("name", "args", "named"),
    [
        ("SLatFlowModel", FLOW | {"patch_size": 4}, "patch_size"),
        ("SLatFlowModel", FLOW | {"num_io_res_blocks": 0}, "num_io_res_blocks"),
        ("SLatFlowModel", FLOW | {"io_block_channels": 8}, "io_block_channels"),
        ("SLatEncoder", TRUNK, "in_channels"),
        ("SLatEncoder", TRUNK | {"in_channels": 7, "attn_mode": "serialized"}, "serialized"),
        ("SLatEncoder", TRUNK | {"in_channels": 7, "window_size": None}, "window_size"),
        ("SLatGaussianDecoder", TRUNK | {"representation_config": {"colour": 1}}, "colour"),
        ("SLatGaussianDecoder", TRUNK | {"representation_config": {"lr": {"_size": 1}}}, "_size"),
        ("SLatGaussianDecoder", TRUNK | {"representation_config": {"scaling_activation": "relu"}}, "relu"),
        ("SLatGaussianDecoder", TRUNK | {"representation_config": {"num_gaussians": 0}}, "num_gaussians"),
        ("SLatMeshDecoder", TRUNK, "model_channels"),
        ("SLatMeshDecoder", TRUNK | {"representation_config": []}, "representation_config"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named(name: str, args: dict, named: str) -> None:
    with pytest.raises(UserError, match=named):
        build_model(name, args)
