"""What a region takes of an asset, and whether an edit of it makes sense.

L voxels · R³ voxels of the structure · S³ grid of the structured latent.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree
from torch import Tensor

from backend.errors import UserError
from backend.geometry.region import Region
from backend.trellis.asset import AssetLatents
from backend.trellis.decoding import Voxels
from backend.trellis.stages import Settings
from blender_trellis.protocol import EditMode

GUESSING = 0.2
"""Below this strength a sampler only refines what the guide says: other noise makes no other object."""


@dataclass(frozen=True)
class Masks:
    """What the region takes of each grid: voxels (S, S, S) and structure (R, R, R) bool; and the voxels with
    their margin.
    """

    voxels: Tensor
    structure: Tensor
    grown: Tensor


def masks_of(region: Region, asset: AssetLatents, margin: int) -> Masks:
    """A voxel is in the region when its centre is.

    Where the structure is finer than the structured latent, its voxels change only within voxels of the
    latent that do, so that both grids agree on what lies outside.
    """
    device = asset.coords.device
    voxels = torch.from_numpy(region.mask(asset.resolution)).to(device)
    finer = torch.from_numpy(region.mask(len(asset.occupied))).to(device)
    factor = len(asset.occupied) // asset.resolution
    return Masks(voxels, finer & repeated(voxels, factor), grown(voxels, margin))


def grown(mask: Tensor, steps: int) -> Tensor:
    """The mask (S, S, S) and all cells within so many steps, also diagonal ones."""
    if steps == 0:
        return mask
    return F.max_pool3d(mask[None, None].float(), 2 * steps + 1, stride=1, padding=steps)[0, 0] > 0


def repeated(mask: Tensor, factor: int) -> Tensor:
    """The mask (S, S, S) on a grid that many times finer."""
    for axis in range(3):
        mask = mask.repeat_interleave(factor, dim=axis)
    return mask


def voxels_of(asset: AssetLatents | Voxels) -> Tensor:
    """Those of the structured latent, (S, S, S) bool."""
    taken = torch.zeros((asset.resolution,) * 3, dtype=torch.bool, device=asset.coords.device)
    x, y, z = asset.coords.long().unbind(1)
    taken[x, y, z] = True
    return taken


def rows_of(before: Tensor, coords: Tensor, resolution: int) -> Tensor:
    """The row (L,) of each voxel (L, 3) among those of before (M, 3), -1 where it is none of them."""
    table = torch.full((resolution,) * 3, -1, dtype=torch.long, device=coords.device)
    x, y, z = before.long().unbind(1)
    table[x, y, z] = torch.arange(len(before), device=coords.device)
    x, y, z = coords.long().unbind(1)
    return table[x, y, z]


def check_edit(
    region: Region, asset: AssetLatents, mode: EditMode, sampling: Settings, guide_hash: str = ""
) -> None:
    """Raises UserError for an edit that cannot be what was meant. It costs nothing: ask before loading.

    guide_hash: `hash_of_guide` of the pictures that the edit is to be guided by, "" where there are none.
    """
    masks = masks_of(region, asset, 0)
    check_masks(masks, region, asset, mode)
    if mode in ("replace", "look") and _taken(masks, asset).all():
        raise UserError(
            "The region holds the whole asset, so nothing of it would stay; use Generate or Vary, or make the"
            " region smaller."
        )
    if mode != "remove" and guide_hash and guide_hash == asset.guide_hash and _only_refines(sampling, mode):
        raise UserError(
            "This model makes nearly the same of a picture with every seed; give another one that shows the"
            " change, or raise the strength."
        )


def check_masks(masks: Masks, region: Region, asset: AssetLatents, mode: EditMode) -> None:
    """Raises UserError where the region holds nothing to change, or all that there is to remove."""
    # Where the structure is finer, a thin region may hold centres of the other voxels alone.
    free = masks.structure if mode in ("replace", "add") else masks.voxels
    if not (masks.voxels.any() and free.any()):
        away = region.distance_to(_centres(asset.coords, asset.resolution))
        low, high = region.bounds()
        if (low > 0.5).any() or (high < -0.5).any():
            raise UserError(
                f"The region holds no voxel: it lies outside of the asset's space, {_said(away)} away from"
                " the asset; move it onto or beside the asset."
            )
        where = "on" if away < 1 / asset.resolution else f"{_said(away)} away from"
        raise UserError(
            f"The region holds no voxel: it is too small, and lies {where} the asset; make it at least"
            f" 1/{asset.resolution} of the asset wide."
        )
    taken = _taken(masks, asset)
    if mode in ("look", "remove") and not taken.any():
        near, _ = cKDTree(_centres(asset.coords, asset.resolution)).query(
            _centres(torch.argwhere(masks.voxels), asset.resolution)
        )
        raise UserError(
            f"There is nothing of the asset in the region, which lies {_said(near.min())} away from it; move"
            " the region, or regenerate shape and look."
        )
    if mode == "remove" and taken.all():
        raise UserError("Nothing would be left of the asset; make the region smaller.")


def _only_refines(sampling: Settings, mode: EditMode) -> bool:
    return sampling.latent.strength < GUESSING and (mode == "look" or sampling.structure.strength < GUESSING)


def _taken(masks: Masks, asset: AssetLatents) -> Tensor:
    """Which of the asset's voxels (L,) lie in the region."""
    x, y, z = asset.coords.long().unbind(1)
    return masks.voxels[x, y, z]


def _centres(coords: Tensor, resolution: int) -> np.ndarray:
    return (coords.cpu().numpy() + 0.5) / resolution - 0.5


def _said(distance: float) -> str:
    return f"{distance:.2g} times the asset's size"
