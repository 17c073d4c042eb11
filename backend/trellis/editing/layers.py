"""What an edited asset is decoded of: kept voxels of the latents they were first decoded with, for another
context would give them other rows. L voxels · K numbers of a voxel.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from backend.errors import UserError
from backend.lifting.solid import SolidGuess
from backend.lifting.solid_cubes import enclosed_voxels, solid_distance
from backend.representations.mesh import Mesh
from backend.representations.mixing import layered_cubes, layered_values, values_at
from backend.trellis.asset import AssetLatents
from backend.trellis.decoding import (
    Layer,
    Report,
    StructuredLatent,
    decode,
    decode_rows,
    finish,
    silent,
)
from backend.trellis.editing.region import rows_of, voxels_of
from backend.trellis.networks import Networks
from blender_trellis.protocol import Format

_MOST_LAYERS = 255  # their numbers, and that of the latents themselves, are u8


def source_of(asset: AssetLatents) -> Tensor:
    """The layers (L, 2) that shape and colours of the asset's voxels are decoded of."""
    if asset.source is not None:
        return asset.source.long()
    return torch.full((len(asset.coords), 2), len(asset.layers), device=asset.coords.device)


def with_history(
    asset: AssetLatents, edited: AssetLatents, rows: Tensor, own: Tensor, look: bool
) -> AssetLatents:
    """The edited asset, which remembers what its kept voxels are decoded of; rows (L,) are those of before.

    own (L,): the voxels that are decoded anew, of a new look in their colours alone. Layers that no voxel
    needs any more are left out; UserError where those that are left cannot be numbered.
    """
    layers = (*asset.layers, Layer(asset.coords, asset.feats, asset.outline))
    source = source_of(asset)[rows.clamp_min(0)]
    anew = (rows < 0) | own
    shape = source[:, 0] if look else source[:, 0].masked_fill(anew, len(layers))
    source = torch.stack([shape, source[:, 1].masked_fill(anew, len(layers))], dim=1)
    used = [number for number in range(len(layers)) if (source == number).any()]
    if len(used) > _MOST_LAYERS:
        raise UserError(
            f"The asset has been edited too often: its voxels come from {len(used)} edits, and {_MOST_LAYERS}"
            " can be kept apart. Make it editable again from its mesh, then edit that."
        )
    number = torch.full((len(layers) + 1,), len(used), device=source.device)
    number[torch.tensor(used, dtype=torch.long, device=source.device)] = torch.arange(
        len(used), device=source.device
    )
    return replace(edited, layers=tuple(layers[one] for one in used), source=number[source].to(torch.uint8))


def mesh_as_it_is(networks: Networks, asset: AssetLatents, report: Report = silent) -> Mesh:
    """The asset's own mesh, also where it was edited: each voxel's part decoded of its layer."""
    rows = rows_as_they_were(networks, "mesh", asset, report)
    mesh = finish(networks, "mesh", asset.coords, rows, report, within=asset.within)
    assert isinstance(mesh, Mesh)
    return mesh


def solid_as_it_is(networks: Networks, asset: AssetLatents, solid: SolidGuess, report: Report) -> SolidGuess:
    """A guide's solid with the asset's own shape instead: that of its mesh, for its voxels are fatter."""
    rows, within = rows_as_they_were(networks, "mesh", asset, report), asset.within
    if within is None:
        within = enclosed_voxels(asset.coords, rows, asset.resolution)
    distance = solid_distance(asset.coords, rows, within, asset.resolution, solid.cells)
    return solid.of_asset(distance, asset.occupied, asset.structure_latent, asset.outline)


def rows_as_they_were(networks: Networks, kind: Format, asset: AssetLatents, report: Report) -> Tensor:
    """The mesh decoder's rows (L, K) of the asset's voxels, each of its layer."""
    rows: Tensor | None = None
    for latent, shape, colours in _decoded(asset):
        places = rows_of(latent.coords, asset.coords, asset.resolution).clamp_min(0)
        found = decode_rows(networks, kind, latent, report)[places]
        rows = found if rows is None else layered_cubes(rows, found, shape, colours)
    assert rows is not None, "every voxel has a source"
    return rows


def within_edited(
    networks: Networks,
    asset: AssetLatents,
    before: Tensor,
    edited: AssetLatents,
    mixed: Tensor,
    changed: Tensor,
) -> Tensor | None:
    """The voxels (S, S, S) inside the edited solid beside its own, those of before but where voxels changed;
    None of models without a solid. before, mixed (L, K): the mesh decoder's rows of both.
    """
    if not networks.is_solid():
        return None
    was = asset.within
    if was is None:
        was = enclosed_voxels(asset.coords, before, asset.resolution)
    made = enclosed_voxels(edited.coords, mixed, asset.resolution)
    # Kept, as the voxels alone would not tell it again: both differ where a hollow reaches over the border.
    return torch.where(changed, made, was) & ~voxels_of(edited)


def values_as_they_were(networks: Networks, kind: Format, asset: AssetLatents, report: Report) -> Any:
    """The asset's Gaussians or radiance field, the values of each voxel of its layer."""
    value: Any = None
    for latent, shape, colours in _decoded(asset):
        places = rows_of(latent.coords, asset.coords, asset.resolution)
        made = decode(networks, kind, latent, report)
        found = values_at(made, len(latent.coords), places)
        value = found if value is None else layered_values(value, found, shape, colours)
    return value


def _decoded(asset: AssetLatents) -> Iterator[tuple[StructuredLatent, Tensor, Tensor]]:
    """The latents that voxels are decoded of, and whose shape and colours (L,) each gives."""
    source = source_of(asset)
    own = Layer(asset.coords, asset.feats, asset.outline)
    for number, one in enumerate((*asset.layers, own)):
        shape, colours = (source == number).unbind(1)
        if shape.any() or colours.any():
            latent = StructuredLatent(one.coords, one.feats, asset.resolution, outline=one.outline)
            yield latent, shape, colours
