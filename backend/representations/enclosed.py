"""What a surface encloses, in a grid of occupied places. n, R places a side."""

import numpy as np
from scipy import ndimage

_TUNNEL = 1  # corners; half the width of what is closed everywhere


def made_solid(inside: np.ndarray, shown: np.ndarray | None, gap: int, crumb: int) -> np.ndarray:
    """Corners (n, n, n) bool with the hollows and tunnels among them filled, also where up to 2 · gap corners
    are missing round a hollow, and without groups of fewer than `crumb`, unless there are no others.

    Where it is not `shown` (n, n, n) nothing is filled but what is enclosed.
    """
    if not inside.any():
        return inside
    box = ndimage.find_objects(inside.astype(np.uint8))[0]
    within, seen = inside[box], None if shown is None else shown[box]
    whole = within | _where(_closing(within, _TUNNEL), seen)
    core = _where(ndimage.binary_erosion(enclosed(_closing(whole, gap)), iterations=gap - 1), seen)
    around = _where(ndimage.binary_dilation(core, iterations=gap + 1), seen)
    whole = ndimage.binary_fill_holes(whole | _closing(whole | core, gap) & around)
    number, _ = ndimage.label(whole)
    large = np.bincount(number.ravel()) >= crumb
    large[0] = False
    result = np.zeros_like(inside)
    result[box] = large[number] if large.any() else whole
    return result


def enclosed(occupied: np.ndarray) -> np.ndarray:
    """The surface's voxels (R, R, R) with all that they hide from the left, right, front, back and above.

    Few shapes are watertight and many have no bottom, so being enclosed is too much to ask.
    """
    hidden = np.ones_like(occupied)
    for axis in range(3):
        hidden &= np.flip(np.logical_or.accumulate(np.flip(occupied, axis), axis), axis)
        if axis < 2:
            hidden &= np.logical_or.accumulate(occupied, axis)
    return hidden


def _closing(inside: np.ndarray, steps: int) -> np.ndarray:
    """The corners (n, n, n) bool without openings narrower than 2 · steps."""
    padded = ndimage.binary_closing(np.pad(inside, steps), ndimage.generate_binary_structure(3, 2), steps)
    return np.asarray(padded[(slice(steps, -steps),) * 3])


def _where(found: np.ndarray, shown: np.ndarray | None) -> np.ndarray:
    return np.asarray(found if shown is None else found & shown)
