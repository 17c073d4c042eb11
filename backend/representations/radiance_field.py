"""Radiance field in voxels: low-rank products of three vectors (Strivec, Gao et al. 2023; paper section 3.1).

Dims: L voxels · r rank · d samples of each vector · P points.
"""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from backend.config import parse_config
from backend.errors import UserError

SH_C0 = 0.28209479177387814


@dataclass(frozen=True)
class RadianceFieldConfig:
    """The decoder's `representation_config` together with its grid resolution."""

    resolution: int = field(metadata={"json": "grid"})  # the decoder's, no field of the file
    rank: int = 16
    dim: int = 8

    def __post_init__(self) -> None:
        if self.rank < 1 or self.dim < 2:
            raise UserError("The radiance-field decoder needs a rank of at least 1 and a dim of at least 2.")

    @classmethod
    def from_json(cls, representation_config: dict, resolution: int) -> "RadianceFieldConfig":
        """Parse the published field names; an unknown or wrong one is a UserError."""
        return parse_config(cls, {**representation_config, "grid": resolution}, "The radiance-field decoder")

    @property
    def layout(self) -> dict[str, slice]:
        """Channel range of each attribute in one voxel's features."""
        trivec, density = 3 * self.rank * self.dim, self.rank
        return {
            "trivec": slice(0, trivec),
            "density": slice(trivec, trivec + density),
            "features_dc": slice(trivec + density, trivec + 4 * density),
        }


@dataclass(frozen=True)
class RadianceField:
    """Voxels of edge 2^-depth in the unit cube, each with its own factors."""

    position: torch.Tensor  # (L, 3) centres in [0, 1]; world = position - 0.5
    depth: torch.Tensor  # (L, 1) uint8
    trivec: torch.Tensor  # (L, r, 3, d)
    density: torch.Tensor  # (L, r)
    features_dc: torch.Tensor  # (L, r, 1, 3)

    def __len__(self) -> int:
        return len(self.position)


def decode_radiance_field(
    coords: torch.Tensor, raw: torch.Tensor, config: RadianceFieldConfig
) -> RadianceField:
    """Field from voxel `coords` (L, 3) and decoder output `raw` (L, r·(3·d + 4))."""
    layout, rank = config.layout, config.rank
    assert raw.shape == (len(coords), layout["features_dc"].stop), raw.shape
    depth = round(math.log2(config.resolution))
    return RadianceField(
        position=(coords.to(raw.dtype) + 0.5) / config.resolution,
        depth=torch.full((len(coords), 1), depth, dtype=torch.uint8, device=raw.device),
        # With 1 added an untrained decoder makes constant factors instead of an empty product.
        trivec=raw[:, layout["trivec"]].reshape(-1, rank, 3, config.dim) + 1,
        density=raw[:, layout["density"]],
        features_dc=raw[:, layout["features_dc"]].reshape(-1, rank, 1, 3),
    )


def query(field: RadianceField, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Density (P,) per unit length and colour (P, 3) at world `points` (P, 3); zero outside all voxels."""
    voxel, local = _locate(field, points)
    hit = torch.nonzero(voxel >= 0)[:, 0]
    density, color = points.new_zeros(len(points)), points.new_zeros(len(points), 3)
    if len(hit) == 0:
        return density, color
    factors = _factors(field.trivec[voxel[hit]], local[hit])
    density[hit] = F.softplus((field.density[voxel[hit]] * factors).sum(1))
    features = SH_C0 * field.features_dc[voxel[hit], :, 0]
    color[hit] = torch.sigmoid((features * factors[..., None]).sum(1))
    return density, color


def _locate(field: RadianceField, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The voxel (P,) around each point, -1 if there is none, and the place (P, 3) within it in [0, 1]."""
    if len(field) == 0:
        return torch.full((len(points),), -1, device=points.device), points
    resolution = 2 ** int(field.depth[0])
    scaled = (points + 0.5) * resolution
    cells = scaled.floor().long()
    voxels = (field.position * resolution).floor().long()
    keys, order = torch.sort(_key(voxels, resolution))
    wanted = _key(cells, resolution)
    rows = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
    found = (keys[rows] == wanted) & ((cells >= 0) & (cells < resolution)).all(1)
    return torch.where(found, order[rows], -1), scaled - cells


def _key(cells: torch.Tensor, resolution: int) -> torch.Tensor:
    return (cells[:, 0] * resolution + cells[:, 1]) * resolution + cells[:, 2]


def _factors(trivec: torch.Tensor, local: torch.Tensor) -> torch.Tensor:
    """Products (P, r) of the three vectors (P, r, 3, d), each read between its samples at `local` (P, 3)."""
    samples = trivec.shape[-1]
    place = local * samples - 0.5
    # Truncated and clamped while the weight is not: near the voxel's faces the lines are extended.
    left = place.trunc().long().clamp(0, samples - 2)
    weight = (place - left)[:, None]
    index = left[:, None, :, None].expand(-1, trivec.shape[1], -1, -1)
    low, high = trivec.gather(3, index)[..., 0], trivec.gather(3, index + 1)[..., 0]
    return (low + (high - low) * weight).prod(-1)
