"""Why a region cannot be regenerated, as far as its voxels tell. No bpy here."""

import numpy as np

from ..protocol import EditMode

NOTHING_THERE = "There is nothing of the asset in the region: move it, or regenerate shape and look."
NOTHING_LEFT = "Nothing would be left of the asset: make the region smaller."
EVERYTHING = (
    "The region holds the whole asset, so nothing would stay: use Generate, or make the region smaller."
)


def why_not(mask: np.ndarray, own: np.ndarray, count: int, mode: EditMode, has_structure: bool = True) -> str:
    """Why a region cannot be regenerated, "" where it can.

    mask, own (R, R, R): the voxels of the region, and those that the asset fills, `count` in all.
    has_structure: whether the region holds voxels of the structure too, as `holds_structure` tells.
    """
    if not mask.any() or (mode in ("replace", "add") and not has_structure):
        return (
            "The region holds no voxel: make it at least "
            f"1/{len(mask)} of the asset's space wide, and move it onto or beside the asset."
        )
    held = int(own.sum())
    if not held and mode in ("look", "remove"):
        return NOTHING_THERE
    if held == count and mode != "add":
        return NOTHING_LEFT if mode == "remove" else EVERYTHING
    return ""
