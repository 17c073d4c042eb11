"""From a guessed solid to the structured latent of its surface, through the frozen latent encoder.

What the latent encoder reads of an object, the distances and colours at the corners of its voxels, follows
from any solid, a guessed one as well. So a guess needs no decoders of its own: its latents are as sharp as
those of a real object. Dims: B batch · L voxels · R structure resolution · r resolution of the structured
latent · n = 2r + 1 corners a side.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.config import require
from backend.lifting.occupancy import OccupancyGuess
from backend.models.structured_latent_vae import SLatEncoder, SLatEncoderConfig

THICKENING = 0.75 / 128  # half the thickness of the shell that stands for a surface, in units of the object
COARSE_CELLS = 2  # distance samples a voxel side in the encoder's input
CORNERS_A_VOXEL = (COARSE_CELLS + 1) ** 3
FEATURES = 4 * CORNERS_A_VOXEL  # distance and colour at each corner
_LEAST_SLOPE = 0.02  # of the probability, per cell; where it is flatter there is no surface to be near to


def _starter_encoder() -> SLatEncoderConfig:
    return SLatEncoderConfig(
        resolution=32,
        model_channels=128,
        latent_channels=8,
        num_blocks=2,
        num_head_channels=32,
        mlp_ratio=2,
        in_channels=FEATURES,
    )


@dataclass(frozen=True)
class SurfaceGuessConfig:
    """level: the probability of lying inside the solid at which its border is drawn. Where the solid is
    nowhere as sure of itself as `sure`, it is lowered in proportion. encoder: the latent encoder's.
    """

    level: float = 0.5
    sure: float = 0.25
    encoder: SLatEncoderConfig = dataclasses.field(default_factory=_starter_encoder)


class SurfaceGuess(nn.Module):
    """See the module docstring. `mean` and `std` (C,) are the normalisation of the structured latent."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: SurfaceGuessConfig):
        super().__init__()
        require(
            config.encoder.in_channels == FEATURES,
            f"The latent encoder of a guess reads {FEATURES} channels, not {config.encoder.in_channels}.",
        )
        self.config = config
        self.encoder = SLatEncoder(config.encoder).requires_grad_(False)
        self.register_buffer("mean", torch.zeros(config.encoder.latent_channels))
        self.register_buffer("std", torch.ones(config.encoder.latent_channels))


def shape_share(
    structure: OccupancyGuess, surface: SurfaceGuess, logits: Tensor, resolution: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of surface and solid (B, 2, R, R, R) -> how far voxels are occupied (B, 1, R, R, R), how likely
    they lie inside, 0.5 where the border most likely is, for a structured latent of that resolution, and
    which count where a sample agrees with what it started from (bool).
    """
    crossed, solid = logits.split(1, dim=1)
    lowered = (structure.cut(solid).sigmoid() / surface.config.sure).clamp(max=1)
    inside, cells, size = solid.sigmoid(), COARSE_CELLS * resolution, crossed.shape[-1]

    def border(level: float) -> Tensor:
        return borders(border_distance(inside, lowered * level, cells), size)

    # Not at the solid's own border: what is occupied reaches further out, for as long as it is in doubt.
    share = structure.share(crossed, border(structure.config.border_level))
    counted = structure.counted(crossed, border(structure.config.counted_level))
    outside = border(surface.config.level)
    share = torch.maximum(share, missing(outside, share > 0.5, size // resolution).float())
    return share, inside / (2 * lowered * surface.config.level), counted


def missing(border: Tensor, occupied: Tensor, side: int) -> Tensor:
    """Voxels of a border in those cells, `side` voxels wide, that hold no occupied one: without them the mesh
    would have a hole there. All are (B, 1, R, R, R) bool.
    """
    empty = F.max_pool3d(occupied.float(), side) == 0
    return border & empty.repeat_interleave(side, 2).repeat_interleave(side, 3).repeat_interleave(side, 4)


def borders(distance: Tensor, resolution: int) -> Tensor:
    """Distances (B, n, n, n) at corners -> the voxels (B, 1, R, R, R) bool that have some on either side."""
    stride = (distance.shape[-1] - 1) // resolution
    corners = distance[:, None]
    high = F.max_pool3d(corners, stride + 1, stride)
    return (high > 0) & (-F.max_pool3d(-corners, stride + 1, stride) < 0)


def border_distance(solid: Tensor, level: Tensor, cells: int) -> Tensor:
    """Distance in cells to where probabilities (B, 1, R, R, R) cross the level (B, 1, 1, 1, 1): (B, n, n, n).

    Negative inside, n = cells + 1; true to first order, so close to the border.
    """
    # Nothing is solid on the cube's border, where the mesh grid ends and a surface would stay open.
    corners = F.pad(F.avg_pool3d(solid, 2, stride=1), (1,) * 6)
    if corners.shape[-1] != cells + 1:
        corners = F.interpolate(corners, size=(cells + 1,) * 3, mode="trilinear", align_corners=True)
    corners = corners[:, 0]
    slopes = torch.stack(torch.gradient(corners, dim=(1, 2, 3)))
    return (level[:, 0] - corners) / slopes.square().sum(0).sqrt().clamp(min=_LEAST_SLOPE)


def solid_features(distance: Tensor, coords: Tensor, colors: Tensor) -> Tensor:
    """What the latent encoder reads of a solid: (L, FEATURES).

    distance (n, n, n) in cells · coords (L, 3) · colors (L, 3) in [−1, 1], one a voxel. As for true surfaces,
    colour is known where the surface is near alone.
    """
    steps = torch.arange(COARSE_CELLS + 1, device=coords.device)
    offsets = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), -1).flatten(0, 2)
    x, y, z = (coords.long()[:, None] * COARSE_CELLS + offsets).unbind(-1)
    voxels = (distance[x, y, z] / COARSE_CELLS).clamp(-1, 1)
    tints = colors[:, None] * (voxels.abs() < 0.999)[..., None]
    return torch.cat([voxels, tints.flatten(1)], dim=1)
