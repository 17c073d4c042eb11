"""Muon for the weights of layers, AdamW for the rest."""

import torch
from torch import nn

from backend.training.optimizers import optimizers_of

RATE = 1e-2


def _moved(module: nn.Module, muon: bool) -> dict[str, torch.Tensor]:
    """How one step with the same random gradients moves a module's parameters."""
    generator = torch.Generator().manual_seed(1)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    for p in module.parameters():
        p.grad = torch.randn(p.shape, generator=generator)
    for one in optimizers_of(list(module.parameters()), RATE, 0.0, muon):
        one.step()
    return {name: (p - before[name]).detach() for name, p in module.named_parameters()}


def test_muon_moves_a_convolution_by_an_orthogonal_matrix_as_large_as_adamw_would():
    moved = _moved(nn.Conv3d(40, 64, 3), muon=True)["weight"].flatten(1)
    sizes = torch.linalg.svdvals(moved) / (0.2 * RATE * moved.shape[1] ** 0.5)
    assert 0.6 < sizes.min() and sizes.max() < 1.3  # five iterations make a matrix nearly orthogonal


def test_what_is_no_matrix_is_left_to_adamw():
    module = nn.Sequential(nn.Conv2d(3, 64, 1), nn.GroupNorm(8, 64), nn.Linear(64, 64), nn.Linear(64, 4))
    ours, adamw = _moved(module, muon=True), _moved(module, muon=False)
    assert [name for name in ours if not torch.allclose(ours[name], adamw[name], atol=1e-7)] == ["2.weight"]


def test_a_parameter_without_gradient_stays():
    module = nn.Linear(64, 64)
    before = module.weight.detach().clone()
    module.bias.grad = torch.ones(64)
    for one in optimizers_of(list(module.parameters()), RATE, 0.0, muon=True):
        one.step()
    assert torch.equal(module.weight, before)
