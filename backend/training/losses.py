"""What the parts are trained on (paper section 3; flow matching as in Lipman et al., 2022).

B batch · L voxels or tokens · C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.sampling import SIGMA_MIN

OCCUPIED_BIAS = -3.2  # the logit of the share of occupied voxels, so that training starts calibrated


def soft_dice(logits: Tensor, target: Tensor) -> Tensor:
    """1 − (2Σpy + 1) / (Σp + Σy + 1) of every object of a batch (B, …), averaged; target in {0, 1}."""
    p, y = logits.sigmoid().flatten(1), target.flatten(1)
    return (1 - (2 * (p * y).sum(1) + 1) / (p.sum(1) + y.sum(1) + 1)).mean()


def occupancy_loss(logits: Tensor, target: Tensor, bce_weight: float = 5.0) -> Tensor:
    """Cross-entropy keeps the probabilities honest, Dice answers the rarity of occupied voxels."""
    return bce_weight * F.binary_cross_entropy_with_logits(logits, target) + soft_dice(logits, target)


@torch.no_grad()
def iou(logits: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of logits > 0 with the target: ()."""
    predicted, target = logits > 0, target > 0.5
    return (predicted & target).sum() / (predicted | target).sum().clamp(min=1)


def kl_divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """Mean divergence of the posterior from the standard normal distribution."""
    return 0.5 * (mean.square() + logvar.exp() - logvar - 1).mean()


def sample_posterior(mean: Tensor, logvar: Tensor, generator: torch.Generator) -> Tensor:
    """mean + σ·ε with ε from the given generator."""
    noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
    return mean + (0.5 * logvar).exp() * noise.to(mean.device)


def logit_normal_times(count: int, mean: float, std: float, generator: torch.Generator) -> Tensor:
    """(count,) flow times in (0, 1)."""
    return torch.sigmoid(mean + std * torch.randn(count, generator=generator))


def interpolate(x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t = (1 − t)·x0 + (σ + (1 − σ)·t)·ε; t (B,) holds for the leading dimension or, with one entry, for
    all.
    """
    t = t.view(-1, *[1] * (x0.ndim - 1))
    return (1 - t) * x0 + (SIGMA_MIN + (1 - SIGMA_MIN) * t) * noise


def flow_matching_loss(velocity: Tensor, x0: Tensor, noise: Tensor, kept: Tensor | None = None) -> Tensor:
    """Mean squared distance to the velocity (1 − σ)·ε − x0, where nothing is `kept` (B, 1, …), 0 or 1."""
    error = F.mse_loss(velocity.float(), (1 - SIGMA_MIN) * noise - x0, reduction="none")
    return (
        error.mean()
        if kept is None
        else (error.mean(1, keepdim=True) * (1 - kept)).sum() / (1 - kept).sum().clamp(min=1)
    )


def noised_latent(
    x0: Tensor, count: int, mean: float, std: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """x_t, times (count,) from sigmoid(N(mean, std)) and the noise, all on the latent's device; count is the
    batch, or 1 for the voxels of one object.
    """
    # Drawn on the processor, so that a seed means the same on every device.
    t = logit_normal_times(count, mean, std, generator).to(x0.device)
    noise = torch.randn(x0.shape, generator=generator).to(x0.device)
    return interpolate(x0, noise, t), t, noise


def drop_condition(
    condition: Tensor, probability: float, generator: torch.Generator, null: Tensor | None = None
) -> Tensor:
    """Replaces whole conditions (B, …) by null (1, …); without one by zeros, the null condition of picture
    models.
    """
    keep = torch.rand(len(condition), generator=generator) >= probability
    absent = torch.zeros_like(condition[:1]) if null is None else null.to(condition)
    return torch.where(keep.to(condition.device).view(-1, *[1] * (condition.ndim - 1)), condition, absent)


def kept_cells(count: int, size: int, share: float, generator: torch.Generator) -> Tensor:
    """(count, 1, size, size, size) f32, 1 where a latent is known: in a share of the samples all around a
    random box of a quarter of the size or more a side, nowhere in the others.
    """
    sides = torch.rand(count, 3, generator=generator) * 0.75 + 0.25
    low = torch.rand(count, 3, generator=generator) * (1 - sides)
    places = (torch.arange(size) + 0.5) / size
    within = (places >= low[..., None]) & (places < (low + sides)[..., None])
    x, y, z = within.unbind(1)
    free = x[:, :, None, None] & y[:, None, :, None] & z[:, None, None, :]
    chosen = torch.rand(count, generator=generator) < share
    return (~free & chosen[:, None, None, None])[:, None].float()
