"""Joins what the asset decodes to before and after an edit: kept values are the old ones, bit for bit.

Values themselves are kept where they can be, not computed anew from the same numbers: vectorised functions
may round a value differently at another place. `look`: only colours may change.
L voxels · K numbers of a voxel · S³ grid of voxels · V vertices.
"""

import itertools
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from backend.representations.cube_grid import find
from backend.representations.flexicubes import cubes_of
from backend.representations.gaussians import Gaussians
from backend.representations.mesh import Mesh
from backend.representations.radiance_field import RadianceField

_COLOURS = {Gaussians: "color_dc", RadianceField: "features_dc"}

_FINE = 4
"""Cubes of the mesh along a side of a voxel."""

_CUBE_CHANNELS = 53
"""Numbers of a cube in the mesh decoder's rows before its colours."""

_REACH = 2
"""How many cubes away a cube's features can change a vertex: cubes share corners, and their cases settle each
other.
"""


def mixed_cubes(before: Tensor, after: Tensor, own: Tensor, kept: Tensor, look: bool) -> Tensor:
    """Rows (L, K) of the mesh decoder: old ones where voxels are kept (L,); of a new look the colours alone,
    where voxels are the region's own (L,).
    """
    if not look:
        return torch.where(kept[:, None], before, after)
    return torch.where(own[:, None] & _colour_channels(after), after, before)


def layered_cubes(rows: Tensor, others: Tensor, shape: Tensor, colours: Tensor) -> Tensor:
    """Rows (L, K) of the mesh decoder with the others where those give a voxel its shape or colours (L,)."""
    taken = torch.where(_colour_channels(rows), colours[:, None], shape[:, None])
    return torch.where(taken, others, rows)


def layered_values(value: Any, others: Any, shape: Tensor, colours: Tensor) -> Any:
    """The same of Gaussians or a radiance field."""
    values = {}
    for field in fields(value):
        old, new = getattr(value, field.name), getattr(others, field.name)
        taken = colours if field.name == _COLOURS[type(value)] else shape
        taken = taken.repeat_interleave(len(old) // len(taken)).reshape(-1, *[1] * (old.ndim - 1))
        values[field.name] = torch.where(taken, new, old)
    return type(value)(**values)


def values_at(value: Any, voxels: int, rows: Tensor) -> Any:
    """Of Gaussians or a radiance field of so many voxels those of the voxels `rows` (L,)."""
    taken = {}
    for field in fields(value):
        held = getattr(value, field.name)
        taken[field.name] = held.unflatten(0, (voxels, -1))[rows.clamp_min(0)].flatten(0, 1)
    return type(value)(**taken)


def _colour_channels(rows: Tensor) -> Tensor:
    """Which of the mesh decoder's numbers (K,) are colours."""
    colours = torch.zeros(rows.shape[1], dtype=torch.bool, device=rows.device)
    corners = colours.view(_FINE**3, -1)[:, _CUBE_CHANNELS:]  # of each of 8 corners 3 colours and 3 normals
    corners.unflatten(1, (8, -1))[..., :3] = True
    return colours


def mixed_values(
    was: Any, made: Any, rows: Tensor, own: Tensor, kept: Tensor, look: bool
) -> tuple[Any, Tensor]:
    """Gaussians or a radiance field with the values of voxels that are kept, and which (N,) those are.

    rows (L,) are the old ones.
    """
    values = {}
    for field in fields(made):
        if field.name == "keys":
            continue
        old, new = getattr(was, field.name), getattr(made, field.name)
        each = len(new) // len(rows)
        old = old.unflatten(0, (-1, each))[rows.clamp_min(0)].flatten(0, 1)
        taken = own & (field.name == _COLOURS[type(made)]) if look else ~kept
        taken = taken.repeat_interleave(each).reshape(-1, *[1] * (new.ndim - 1))
        values[field.name] = torch.where(taken, new, old)
    return replace(made, **values), (~own if look else kept).repeat_interleave(each)


def mixed_mesh(was: Mesh, made: Mesh, changed: Tensor, look: bool) -> tuple[Mesh, Tensor]:
    """The mesh of mixed rows with the old values of vertices out of reach of changed voxels (S, S, S), and
    which (V,) these are.

    In reach, too, a new look has the old positions and normals.
    """
    assert was.keys is not None and made.keys is not None
    keys, order = was.keys.sort()
    rows = find(keys, made.keys)
    shared = rows >= 0
    old = shared & ~_within_reach(cubes_of(made.keys, _FINE * len(changed)), changed)
    values = {}
    for name in ("vertices", "colors", "normals"):
        value = getattr(made, name)
        if value is not None:
            kept = shared if look and name != "colors" else old
            values[name] = value.index_put((kept,), getattr(was, name)[order[rows[kept]]])
    return replace(made, **values), old


def _within_reach(cubes: Tensor, changed: Tensor) -> Tensor:
    """Which cubes (V, 3) a changed voxel (S, S, S) can reach."""
    # The cubes in reach along an axis lie in two voxels at most: those of its ends.
    ends = torch.stack([cubes - _REACH, cubes + _REACH]).clamp(0, _FINE * len(changed) - 1) // _FINE
    reached = torch.zeros(len(cubes), dtype=torch.bool, device=cubes.device)
    for x, y, z in itertools.product((0, 1), repeat=3):
        reached |= changed[ends[x, :, 0], ends[y, :, 1], ends[z, :, 2]]
    return reached
