"""Both stages of the flow in a region of an asset, beside what is known of the rest (RePaint).

L voxels · S³ grid of the structured latent.
"""

from collections.abc import Generator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.errors import UserError
from backend.lifting.solid import SolidGuess
from backend.representations.structure import occupied_voxels
from backend.sampling import Known
from backend.trellis.asset import AssetLatents
from backend.trellis.conditioning import Condition
from backend.trellis.decoding import decode_structure
from backend.trellis.editing.region import grown, voxels_of
from backend.trellis.editing.settings import Change
from backend.trellis.generate import normalization
from backend.trellis.stages import Step, sample_latents, sample_structure

_TRY = "try another picture, a larger region or more strength."
ALIGNED = 0.9
"""Share of what an edit keeps that its picture must show where it is, or else its outline means nothing; and
overlap of an asset's voxels with those that a guide's solid gives its latent."""
_SAME_VALUES, _SAME_VOXELS = 0.3, 0.99
"""Latents no farther off than this, in standard deviations, and voxels that agree so far, look the same."""


def new_shape(change: Change, condition: Condition) -> Generator[Step, None, tuple[AssetLatents, Condition]]:
    """Stage 1: the structure latent is sampled in the region's cells and read in the region's voxels; no
    feats yet. With it the condition that tells of the solid that was found.
    """
    asset, masks, settings = change.asset, change.masks, change.settings
    known = Known(asset.structure_latent, free_cells(change), settings.jumps, change.extra)
    (latent,) = yield from sample_structure(
        change.networks, condition, settings.sampling, change.random, change.report, known
    )
    yield Step("decode_sparse_structure", 0, 1)
    solid = _aligned(condition.solid, asset.occupied & ~masks.structure)
    voxels = decode_structure(change.networks, latent, change.report, solid)
    found, held = voxels.occupied, voxels_of(voxels)
    if settings.start == "asset" and solid is not None:
        # A solid is not read of a latent as the asset's was: what the sample leaves alone stays the asset's.
        before = decode_structure(change.networks, asset.structure_latent, change.report, solid)
        found = torch.where(found == before.occupied, asset.occupied, found)
        held = torch.where(held == voxels_of(before), voxels_of(asset), held)
    if settings.mode == "add":
        found = found | asset.occupied
    occupied = torch.where(masks.structure, found, asset.occupied)
    inside = held | voxels_of(asset) if settings.mode == "add" else held
    x, y, z = occupied_voxels(occupied.float() - 0.5, asset.resolution).unbind(1)
    inside[x, y, z] = True
    coords = torch.argwhere(torch.where(masks.voxels, inside, voxels_of(asset))).int()
    x, y, z = coords.long().unbind(1)
    if settings.mode == "replace" and not masks.voxels[x, y, z].any():
        raise UserError(f"The model found no shape in the region; {_TRY}")
    if settings.mode == "add" and len(coords) == len(asset.coords):
        raise UserError(f"The model found nothing to add in the region; {_TRY}")
    edited = replace(
        asset,
        structure_latent=latent,
        occupied=occupied,
        coords=coords,
        feats=asset.feats[:0],
        outline=voxels.outline,
    )
    return edited, replace(condition, solid=voxels.solid)


def free_cells(change: Change) -> Tensor:
    """The cells of the structure latent that may change, (1, 1, r, r, r) bool."""
    side = len(change.asset.occupied) // change.asset.structure_latent.shape[-1]
    pooled = F.max_pool3d(change.masks.structure[None, None].float(), side)[0, 0] > 0
    return grown(pooled, change.settings.growth)[None, None]


def on_own_shape(change: Change, condition: Condition) -> Condition:
    """The condition whose solid is the asset's own shape: a guess of the shape has its border elsewhere. Its
    voxels say it where the guide tells of another shape.
    """
    if condition.solid is None or change.settings.start == "asset":
        return condition
    asset = change.asset
    found = decode_structure(change.networks, asset.structure_latent, change.report, condition.solid)
    either = (found.occupied | asset.occupied).sum()
    if (found.occupied & asset.occupied).sum() < ALIGNED * either:
        return replace(condition, solid=condition.solid.around(asset.occupied))
    return replace(condition, solid=found.solid)


def new_look(
    change: Change, edited: AssetLatents, rows: Tensor, condition: Condition
) -> Generator[Step, None, AssetLatents]:
    """Stage 2: latents are sampled on the region's voxels; rows (L,) are the old ones, -1 for none.

    What "add" finds there keeps its latents.
    """
    asset, settings = change.asset, change.settings
    mean, std = normalization(change.networks)
    x, y, z = edited.coords.long().unbind(1)
    free = (rows < 0)[:, None]
    if settings.mode != "add":
        free = free | change.masks.voxels[x, y, z][:, None]
    before = torch.where((rows >= 0)[:, None], asset.feats[rows.clamp_min(0)], mean)
    known = Known((before - mean) / std, free, settings.jumps, change.extra)
    condition = replace(condition, latent_start=_start(change, edited, rows, known.data, condition))
    (sampled,) = yield from sample_latents(
        change.networks, condition, [edited.coords], settings.sampling, change.random, change.report, known
    )
    # The stored latents themselves outside: to normalise and back would cost their last bit.
    return replace(edited, feats=torch.where(free, sampled * std + mean, before))


def check_difference(change: Change, edited: AssetLatents, rows: Tensor) -> None:
    """Raises UserError where nobody could see what has changed; rows (L,) as in `new_look`."""
    _, std = normalization(change.networks)
    shared = rows >= 0
    moved = ((edited.feats[shared] - change.asset.feats[rows[shared]]) / std).abs()
    x, y, z = edited.coords[shared].long().unbind(1)
    same = int(change.masks.voxels[x, y, z].sum())
    x, y, z = change.asset.coords.long().unbind(1)
    before = int(change.masks.voxels[x, y, z].sum())
    either = before + int((~shared).sum())
    if same >= _SAME_VOXELS * either and not (moved > _SAME_VALUES).any():
        raise UserError(
            "The result does not differ from the asset; give another picture or sentence, or raise the"
            " strength."
        )


def _aligned(solid: SolidGuess | None, kept: Tensor) -> SolidGuess | None:
    """The same without its picture's outline, if what is kept (R, R, R) does not lie on that."""
    if solid is None or not kept.any() or solid.shows(kept) >= ALIGNED:
        return solid
    return replace(solid, outline=None)


def _start(
    change: Change, edited: AssetLatents, rows: Tensor, before: Tensor, condition: Condition
) -> Tensor | None:
    """Where the normalised latents start, as a grid (1, C, S, S, S); before (L, C) are those of the asset,
    where it has the voxel: rows (L,).
    """
    start = condition.latent_start_at(edited.coords)
    if change.settings.start == "asset":
        start = before if start is None else torch.where((rows >= 0)[:, None], before, start)
    if start is None:
        return None
    grid = start.new_zeros(1, start.shape[1], *(edited.resolution,) * 3)
    x, y, z = edited.coords.long().unbind(1)
    grid[0, :, x, y, z] = start.T
    return grid
