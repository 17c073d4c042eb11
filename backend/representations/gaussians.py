"""3-D Gaussians: from the Gaussian decoder's channels to splats in the world, and their .ply file.

The file is the one splat viewers share: 17 floats a splat, logit opacity, log scale. Paper section 3.1.
Dims: L voxels · G Gaussians a voxel · N = L·G Gaussians, voxel-major.
"""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from backend.config import parse_config
from backend.errors import UserError
from backend.representations.ply import read_vertices, write_vertices
from backend.representations.rotations import quaternions, rotation_matrices

# (name in the published JSON, values a Gaussian) in channel order; each block is Gaussian-major.
CHANNELS = (("_xyz", 3), ("_features_dc", 3), ("_scaling", 3), ("_rotation", 4), ("_opacity", 1))
SH_C0 = 0.28209479177387814

Transform = tuple[tuple[float, float, float], ...]
# Object space (z up) to the viewers' frame: (x, y, z) -> (x, -z, y).
DEFAULT_TRANSFORM: Transform = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
_PLY_GROUPS = (
    ("x", "y", "z"),
    ("nx", "ny", "nz"),
    ("f_dc_0", "f_dc_1", "f_dc_2"),
    ("opacity",),
    ("scale_0", "scale_1", "scale_2"),
    ("rot_0", "rot_1", "rot_2", "rot_3"),
)


@dataclass(frozen=True)
class GaussianConfig:
    """The decoder's `representation_config` together with its grid resolution."""

    resolution: int = field(metadata={"json": "grid"})  # the decoder's, no field of the file
    lr: dict[str, float] = field(default_factory=lambda: {name: 1.0 for name, _ in CHANNELS})
    perturb_offset: bool = True
    voxel_size: float = 1.5
    num_gaussians: int = 32
    filter_kernel_size_2d: float = field(default=0.1, metadata={"json": "2d_filter_kernel_size"})
    filter_kernel_size_3d: float = field(default=9e-4, metadata={"json": "3d_filter_kernel_size"})
    scaling_bias: float = 4e-3
    opacity_bias: float = 0.1
    scaling_activation: str = "softplus"

    def __post_init__(self) -> None:
        if self.scaling_activation not in ("softplus", "exp"):
            raise UserError(
                f"The Gaussian decoder asks for the scaling activation {self.scaling_activation!r}; "
                'only "softplus" and "exp" are known.'
            )
        missing = [name for name, _ in CHANNELS if name not in self.lr]
        if missing:
            raise UserError(f"The Gaussian decoder's configuration has no lr for {', '.join(missing)}.")

    @classmethod
    def from_json(cls, representation_config: dict, resolution: int) -> "GaussianConfig":
        """Parse the published field names; an unknown or wrong one is a UserError."""
        return parse_config(cls, {**representation_config, "grid": resolution}, "The Gaussian decoder")

    @property
    def layout(self) -> dict[str, slice]:
        """Channel range of each attribute in one voxel's features."""
        layout, start = {}, 0
        for name, size in CHANNELS:
            layout[name] = slice(start, start + size * self.num_gaussians)
            start = layout[name].stop
        return layout

    @property
    def scale_shift(self) -> float:
        """Added to the raw scale: the inverse activation of `scaling_bias`."""
        if self.scaling_activation == "exp":
            return math.log(self.scaling_bias)
        return self.scaling_bias + math.log(-math.expm1(-self.scaling_bias))

    @property
    def opacity_shift(self) -> float:
        """What is added to the logit of every opacity."""
        # In float32, where the reference rounds it.
        bias = torch.tensor(self.opacity_bias, dtype=torch.float32)
        return float(torch.log(bias / (1 - bias)))


@dataclass(frozen=True)
class RawGaussians:
    """Decoder values before the activations; `xyz` is in the unit cube [0, 1]³, the rest is times lr."""

    xyz: torch.Tensor  # (N, 3)
    features_dc: torch.Tensor  # (N, 3)
    scaling: torch.Tensor  # (N, 3)
    rotation: torch.Tensor  # (N, 4)
    opacity: torch.Tensor  # (N, 1)


@dataclass(frozen=True)
class Gaussians:
    """Splats in object space [-0.5, 0.5]³, z up."""

    position: torch.Tensor  # (N, 3)
    color_dc: torch.Tensor  # (N, 3) spherical-harmonics coefficient; colour = 0.5 + SH_C0 · color_dc
    opacity: torch.Tensor  # (N, 1) in (0, 1)
    scale: torch.Tensor  # (N, 3) standard deviations
    rotation: torch.Tensor  # (N, 4) w x y z, not normalised
    keys: torch.Tensor | None = None  # (N,) int64, distinct; what decoding names each splat by

    def __len__(self) -> int:
        return len(self.position)


def decode_gaussians(
    coords: torch.Tensor, raw: torch.Tensor, config: GaussianConfig, offset_perturbation: torch.Tensor | None
) -> Gaussians:
    """Splats from voxel `coords` (L, 3) and decoder output `raw` (L, 14·G).

    `offset_perturbation` (G, 3) spreads a voxel's Gaussians; None will do when `perturb_offset` is off.
    """
    gaussians = activate(split_channels(coords, raw, config, offset_perturbation), config)
    x, y, z = coords.long().unbind(1)
    voxel = (x * config.resolution + y) * config.resolution + z
    number = torch.arange(config.num_gaussians, device=coords.device)
    return replace(gaussians, keys=(voxel[:, None] * config.num_gaussians + number).flatten())


def split_channels(
    coords: torch.Tensor, raw: torch.Tensor, config: GaussianConfig, offset_perturbation: torch.Tensor | None
) -> RawGaussians:
    """Cut the channels into attributes, scale them by lr and place the centres; no activation yet."""
    assert raw.shape == (len(coords), config.layout["_opacity"].stop), raw.shape
    sizes = dict(CHANNELS)
    parts = {
        name: raw[:, channels].reshape(-1, config.num_gaussians, sizes[name]) * config.lr[name]
        for name, channels in config.layout.items()
    }
    offset = parts["_xyz"]
    if config.perturb_offset:
        assert offset_perturbation is not None
        offset = offset + offset_perturbation
    centre = (coords[:, None].to(raw.dtype) + 0.5) / config.resolution
    parts["_xyz"] = centre + torch.tanh(offset) / config.resolution * 0.5 * config.voxel_size
    return RawGaussians(**{name.lstrip("_"): part.flatten(0, 1) for name, part in parts.items()})


def activate(raw: RawGaussians, config: GaussianConfig) -> Gaussians:
    """Apply the activations; the 3-D filter keeps every splat at least `filter_kernel_size_3d` wide."""
    scale = raw.scaling + config.scale_shift
    scale = F.softplus(scale) if config.scaling_activation == "softplus" else torch.exp(scale)
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=raw.rotation.dtype, device=raw.rotation.device)
    return Gaussians(
        position=raw.xyz - 0.5,
        color_dc=raw.features_dc,
        opacity=torch.sigmoid(raw.opacity + config.opacity_shift),
        scale=torch.sqrt(scale.square() + config.filter_kernel_size_3d**2),
        rotation=raw.rotation + identity,
    )


def covariance(gaussians: Gaussians) -> torch.Tensor:
    """Upper triangles (N, 6) xx xy xz yy yz zz of R·diag(scale²)·Rᵀ."""
    axes = rotation_matrices(gaussians.rotation) * gaussians.scale[:, None]
    full = axes @ axes.transpose(-1, -2)
    rows, columns = (0, 0, 0, 1, 1, 2), (0, 1, 2, 1, 2, 2)
    return full[:, rows, columns]


def write_ply(path: Path, gaussians: Gaussians, transform: Transform | None = DEFAULT_TRANSFORM) -> None:
    """Write the splats; `transform=None` keeps the z-up frame and the quaternions' length."""
    position, *others = (part.numpy() for part in stored_values(gaussians, transform))
    table = np.concatenate([position, np.zeros_like(position), *others], axis=1)
    write_vertices(path, tuple(name for group in _PLY_GROUPS for name in group), table)


def stored_values(gaussians: Gaussians, transform: Transform | None = None) -> tuple[torch.Tensor, ...]:
    """Float32 values as files and viewers keep them, on the CPU.

    Position (N, 3), f_dc (N, 3), opacity logit (N, 1), log scale (N, 3), rotation (N, 4); with a `transform`
    the rotations become unit quaternions.
    """
    parts = (gaussians.position, gaussians.color_dc, gaussians.opacity, gaussians.scale, gaussians.rotation)
    position, color_dc, opacity, scale, rotation = (part.detach().float().cpu() for part in parts)
    if transform is not None:
        matrix = torch.tensor(transform, dtype=torch.float32)
        position = position @ matrix.T
        rotation = quaternions(matrix @ rotation_matrices(rotation))
    # A saturated sigmoid is exactly 0 or 1 in float32; a file must not hold infinities.
    opacity = opacity.clamp(1e-30, 1 - 2**-24)
    logit, log_scale = torch.log(opacity / (1 - opacity)), torch.log(scale.clamp_min(1e-30))
    return position, color_dc, logit, log_scale, rotation


def read_ply(path: Path, transform: Transform | None = DEFAULT_TRANSFORM) -> Gaussians:
    """Read a splat file and undo `transform`.

    Properties are found by name, and the higher spherical harmonics (`f_rest_*`) are left out. Raises
    UserError for a file that is no splat file, is damaged or holds values that are not finite.
    """
    name = Path(path).name
    table = read_vertices(path)
    parts = {group[0]: _columns(table, group, name) for group in _PLY_GROUPS if group[0] != "nx"}
    position, color_dc, logit, log_scale, rotation = parts.values()
    if transform is not None:
        matrix = torch.tensor(transform, dtype=torch.float32)
        position = position @ matrix
        rotation = quaternions(matrix.T @ rotation_matrices(rotation))
    scale = torch.exp(log_scale)
    if not (scale.isfinite().all() and (parts["rot_0"].norm(dim=-1) > 0).all()):
        raise UserError(f"{name} holds splats without a size or a direction; export it again.")
    return Gaussians(position, color_dc, torch.sigmoid(logit), scale, rotation)


def _columns(table: np.ndarray, names: tuple[str, ...], file_name: str) -> torch.Tensor:
    missing = [name for name in names if name not in (table.dtype.names or ())]
    if missing:
        raise UserError(f"{file_name} is not a Gaussian-splat file: it has no {', '.join(missing)}.")
    values = torch.from_numpy(np.stack([table[name] for name in names], axis=1).astype(np.float32))
    if not values.isfinite().all():
        raise UserError(f"{file_name} holds values that are not finite numbers; export it again.")
    return values
