"""Direct supervision of the Gaussian decoder: every Gaussian belongs on the surface point nearest to its
resting place.

It takes that point's colour and lies flat on the surface; where there is no surface within reach it is
invisible.
L voxels · G Gaussians a voxel · N = L·G.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from backend.geometry.scene import Scene
from backend.geometry.surface import DistanceField, nearest_points
from backend.models.structured_latent_vae import SLatGaussianDecoder
from backend.representations.gaussians import SH_C0, GaussianConfig, covariance, decode_gaussians

REACH = 0.7  # voxels from a voxel's centre; the decoder cannot move a Gaussian farther
WIDTH = 0.29  # of a voxel, along the surface
LONGEST, LONG_WEIGHT = 0.34, 3.0  # of a voxel, and how much what is longer counts
THICKNESS = 0.08  # of a voxel, across it


@dataclass(frozen=True)
class GaussianTargets:
    """position, color, normal (N, 3) f32 · visible (N,) bool: a surface is within reach."""

    position: Tensor
    color: Tensor
    normal: Tensor
    visible: Tensor


def gaussian_targets(
    scene: Scene, field: DistanceField, coords: np.ndarray, places: np.ndarray, resolution: int
) -> GaussianTargets:
    """coords (L, 3) and resting places (G, 3) in [0, 1] of a voxel -> the nearest surface points."""
    rest = ((coords[:, None] + places) / resolution - 0.5).reshape(-1, 3)
    cells = field.face.shape[0] - 1
    corner = np.clip(np.rint((rest + 0.5) * cells).astype(np.int64), 0, cells)
    face = field.face[tuple(corner.T)]
    position, color, normal = nearest_points(rest, face, scene.vertices, scene.faces, scene.corner_colors)
    centre = ((coords + 0.5) / resolution - 0.5).repeat(len(places), axis=0)
    visible = (face >= 0) & (np.abs(position - centre).max(axis=1) < REACH / resolution)
    return GaussianTargets(*(torch.from_numpy(part) for part in (position, color, normal, visible)))


def gaussian_loss(
    decoder: SLatGaussianDecoder,
    config: GaussianConfig,
    coords: Tensor,
    latents: Tensor,
    targets: GaussianTargets,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Position, colour, flatness and visibility against the targets; latents (L, 8)."""
    raw = decoder(latents, decoder.structure(coords)).float()
    splats = decode_gaussians(coords, raw, config, decoder.offset_perturbation)
    seen = targets.visible.float()
    total = seen.sum().clamp(min=1)
    voxels = config.resolution
    place = (((splats.position - targets.position) * voxels).abs().mean(-1) * seen).sum() / total
    tint = splats.color_dc * SH_C0 + 0.5
    color = ((tint - targets.color).abs().mean(-1) * seen).sum() / total
    across, along = extents(covariance(splats), targets.normal)
    flat = (across * voxels - THICKNESS).abs() + (along * voxels - WIDTH).abs()
    # The mean width along the surface alone would allow needles, which stick out of an outline.
    long = (splats.scale.amax(1) * voxels - LONGEST).clamp(min=0)
    shape = ((flat + LONG_WEIGHT * long) * seen).sum() / total
    opacity = F.binary_cross_entropy(splats.opacity[:, 0].clamp(1e-4, 1 - 1e-4), seen * 0.96 + 0.02)
    numbers = {"place": place.detach(), "tint": color.detach(), "opacity": opacity.detach()}
    return 2 * place + color + 0.5 * shape + 0.3 * opacity, numbers


def extents(cov: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """Standard deviations (N,) across and along a surface from covariances (N, 6) xx xy xz yy yz zz."""
    xx, xy, xz, yy, yz, zz = cov.unbind(-1)
    x, y, z = normal.unbind(-1)
    across = xx * x * x + yy * y * y + zz * z * z + 2 * (xy * x * y + xz * x * z + yz * y * z)
    along = (xx + yy + zz - across) / 2
    return (across.clamp(min=0) + 1e-10).sqrt(), (along.clamp(min=0) + 1e-10).sqrt()
