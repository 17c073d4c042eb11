"""The sparse-structure networks: shapes, independence of the batch, options, precision, start values."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from backend.checkpoints.weights import build_model
from backend.errors import UserError
from backend.models.sparse_structure_flow import SparseStructureFlowModel, patchify, unpatchify
from backend.models.sparse_structure_vae import (
    SparseStructureDecoder,
    SparseStructureEncoder,
    pixel_shuffle_3d,
)
from backend.sampling import SamplerSettings, guidance_in_one_pass, guided

FLOW = {
    "resolution": 4,
    "in_channels": 3,
    "out_channels": 5,
    "model_channels": 24,
    "cond_channels": 10,
    "num_blocks": 2,
    "num_heads": 3,
    "mlp_ratio": 1.5,
    "patch_size": 1,
}
ENCODER = {"in_channels": 1, "latent_channels": 2, "num_res_blocks": 1, "channels": [4, 6, 8]}
DECODER = {"out_channels": 1, "latent_channels": 2, "num_res_blocks": 1, "channels": [8, 6, 4]}


def awake(module: nn.Module) -> nn.Module:
    """Every parameter random, so that nothing is hidden by a zero."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module


def flow(**options: object) -> SparseStructureFlowModel:
    return awake(SparseStructureFlowModel.from_args(FLOW | options))


def velocity(model: SparseStructureFlowModel, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
    return model(x, t, model.context(cond))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patch_size": 2},
        {"share_mod": True},
        {"qk_rms_norm": True, "qk_rms_norm_cross": True},
        {"num_heads": None, "num_head_channels": 8},
        {"use_checkpoint": True},
    ],
    ids=str,
)
def test_flow_treats_every_object_of_a_batch_alone(options: dict) -> None:
    model = flow(**options)
    x, t, cond = torch.randn(2, 3, 4, 4, 4), torch.tensor([10.0, 900.0]), torch.randn(2, 5, 10)
    together = velocity(model, x, t, cond)
    assert together.shape == (2, 5, 4, 4, 4)
    for n in range(2):
        one = slice(n, n + 1)
        torch.testing.assert_close(
            together[one], velocity(model, x[one], t[one], cond[one]), atol=1e-5, rtol=1e-4
        )


def test_flow_feels_its_input_time_condition_and_place() -> None:
    model = flow()
    x, t, cond = torch.randn(1, 3, 4, 4, 4), torch.tensor([10.0]), torch.randn(1, 5, 10)
    base = velocity(model, x, t, cond)
    assert not torch.allclose(base, velocity(model, x + 1, t, cond))
    assert not torch.allclose(base, velocity(model, x, t + 100, cond))
    assert not torch.allclose(base, velocity(model, x, t, cond + 1))
    assert not torch.allclose(base.flip(2), velocity(model, x.flip(2), t, cond), atol=1e-4)


def test_shared_modulation_moves_from_the_blocks_to_the_model() -> None:
    keys = set(flow(share_mod=True).state_dict())
    assert {"adaLN_modulation.1.weight", "adaLN_modulation.1.bias"} <= keys
    assert not any(key.startswith("blocks") and "adaLN" in key for key in keys)
    assert flow(share_mod=True).adaLN_modulation[1].weight.shape == (6 * 24, 24)


@pytest.mark.parametrize("options", [{}, {"share_mod": True}], ids=str)
def test_a_fresh_flow_has_zero_velocity_and_idle_blocks(options: dict) -> None:
    model = SparseStructureFlowModel.from_args(FLOW | options)
    x, t, cond = torch.randn(1, 3, 4, 4, 4), torch.tensor([10.0]), torch.randn(1, 5, 10)
    assert velocity(model, x, t, cond).abs().max() == 0
    assert model.t_embedder.mlp[0].weight.std().item() == pytest.approx(0.02, rel=0.1)
    shift_to_gate = (model if options else model.blocks[0]).adaLN_modulation[1]
    assert shift_to_gate.weight.abs().max() == 0


def test_training_reaches_every_parameter() -> None:
    model = flow(qk_rms_norm=True, use_checkpoint=True).train()
    out = velocity(model, torch.randn(2, 3, 4, 4, 4), torch.tensor([10.0, 20.0]), torch.randn(2, 5, 10))
    out.square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_patches_keep_channel_slowest_then_x_y_z() -> None:
    x = torch.arange(2 * 64.0).view(1, 2, 4, 4, 4)
    patches = patchify(x, 2)
    assert patches[0, :, 1, 0, 1].tolist() == [
        x[0, c, 2 + i, j, 2 + k].item()
        for c in range(2)
        for i in range(2)
        for j in range(2)
        for k in range(2)
    ]
    assert torch.equal(unpatchify(patches, 2), x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_torso_stays_close_and_outer_layers_stay_fp32(dtype: torch.dtype) -> None:
    args = torch.randn(1, 3, 4, 4, 4), torch.tensor([300.0]), torch.randn(1, 5, 10)
    with torch.no_grad():
        exact = velocity(flow(qk_rms_norm=True), *args)
        model = flow(qk_rms_norm=True).to_precision(dtype)
        half = velocity(model, *args)
    assert half.dtype == torch.float32
    assert (half - exact).abs().max() < 0.03 * exact.abs().max()
    dtypes = {name: value.dtype for name, value in model.state_dict().items()}
    assert {name for name, found in dtypes.items() if found == torch.float32} == {
        name
        for name in dtypes
        if not name.startswith("blocks") or "norm" in name  # block norms and rms gammas
    }


def test_autoencoder_shapes() -> None:
    mean, logvar = awake(SparseStructureEncoder.from_args(ENCODER))(torch.randn(2, 1, 16, 16, 16))
    assert mean.shape == logvar.shape == (2, 2, 4, 4, 4)
    assert awake(SparseStructureDecoder.from_args(DECODER))(mean).shape == (2, 1, 16, 16, 16)


def test_decoder_runs_its_middle_before_its_blocks() -> None:
    order = []
    decoder = SparseStructureDecoder.from_args(DECODER)
    for name in ("middle_block.0", "blocks.0", "blocks.4"):
        decoder.get_submodule(name).register_forward_hook(lambda *_, name=name: order.append(name))
    decoder(torch.randn(1, 2, 4, 4, 4))
    assert order == ["middle_block.0", "blocks.0", "blocks.4"]


def test_pixel_shuffle_puts_the_channel_before_the_place() -> None:
    x = torch.arange(16.0).view(1, 16, 1, 1, 1)
    assert torch.equal(pixel_shuffle_3d(x), torch.arange(16.0).view(1, 2, 2, 2, 2))


def test_group_norm_is_for_the_last_layer_only() -> None:
    decoder = SparseStructureDecoder.from_args(DECODER | {"channels": [8, 64], "norm_type": "group"})
    assert isinstance(decoder.out_layer[0], nn.GroupNorm)
    assert isinstance(decoder.blocks[0].norm1, nn.LayerNorm)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_autoencoder_in_the_precision_of_its_torso(dtype: torch.dtype) -> None:
    z = torch.randn(1, 2, 4, 4, 4)
    with torch.no_grad():
        exact = awake(SparseStructureDecoder.from_args(DECODER))(z)
        rounded = awake(SparseStructureDecoder.from_args(DECODER)).to_precision(dtype)(z)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().max() <= 0.05 * exact.abs().max()


def test_configuration_keeps_training_fields() -> None:
    config = flow(use_checkpoint=True, use_fp16=True).config
    assert config.use_checkpoint and config.use_fp16
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.use_fp16 = False


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"depth": 3}, "depth"),
        ({"num_heads": 5}, "5 heads"),
        ({"pe_mode": "rope"}, "rope"),
        ({"patch_size": 3}, "patch_size"),
        ({"patch_size": 0}, "patch_size"),
        ({"model_channels": "24"}, "model_channels"),
        ({"num_blocks": True}, "num_blocks"),
        ({"num_blocks": -1}, "num_blocks"),
        ({"model_channels": 10**12}, "model_channels"),
        ({"mlp_ratio": None}, "mlp_ratio"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named(change: dict, named: str) -> None:
    with pytest.raises(UserError, match=named):
        build_model("SparseStructureFlowModel", FLOW | change)


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(UserError, match="model_channels"):
        build_model("SparseStructureFlowModel", {k: v for k, v in FLOW.items() if k != "model_channels"})
    with pytest.raises(UserError, match="norm_type"):
        build_model("SparseStructureEncoder", ENCODER | {"norm_type": "batch"})
    with pytest.raises(UserError, match="JSON object"):
        build_model("SparseStructureEncoder", [1, 2])


@pytest.mark.parametrize("multi", [1, 2])
def test_guidance_in_one_pass_gives_the_same_velocity(multi: int) -> None:
    model = flow()
    width = model.config.cond_channels
    contexts = [model.context(torch.randn(1, 5, width)) for _ in range(multi)]
    null = model.context(torch.zeros(1, 5, width))
    settings = SamplerSettings(cfg_strength=3.0, cfg_interval=(0.5, 1.0))
    x = torch.randn(1, model.config.in_channels, *[model.config.resolution] * 3)
    with torch.no_grad():
        times = model.timetable([0.9, 0.6, 0.2])
        plain = guided(model, contexts, null, settings, times=times)
        pairs = [one.beside(null) for one in contexts]
        at_once = guidance_in_one_pass(model, pairs, contexts, settings, times)
        for step, t in enumerate(times):
            expected = plain(x, t, step)
            # guidance multiplies the rounding of both passes
            assert (at_once(x, t, step) - expected).abs().max() <= 7 * 2e-6 * expected.abs().max()
