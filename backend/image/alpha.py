"""What a picture's alpha says: whether it cuts an object out, and what of it is a shadow.

H, W: height and width of the picture.
"""

import numpy as np
from scipy import ndimage

from backend.image.specks import without_specks

# Alpha up to here is noise of masks and removers: a pixel that nobody sees.
CLEAR = 25
# The published threshold: above it a pixel is the opaque object.
OPAQUE = 0.8 * 255

# A cut-out is clear along a good part of the picture's border and over a good part of the picture. A window
# with round corners, a canvas a few pixels too large or an alpha channel that was only kept are not.
_LEAST_CLEAR_BORDER = 0.2
_LEAST_CLEAR_AREA = 0.05
_BORDER_SHARE = 0.02
# A rectangle is cut out only by more than a clear frame, and a hole that fills much of the picture is meant.
_LEAST_CLEAR_ROUND_A_RECTANGLE = 0.12
_LARGE_HOLE = 0.25
_RECTANGLE = 0.97
# A cast shadow is black and soft: so much of it fades out, where a see-through body ends at an edge.
_SHADOW_ALPHA = 0.65 * 255
_SHADOW_LEVEL = 40
_FADING = 0.1
# A window's shadow covers this share of the ring of this width (a share of the window's shorter side).
_RING_WIDTH = 0.02
_RING_SHARE = 0.6


def cuts_out(alpha: np.ndarray) -> bool:
    """Whether the picture's transparency (H, W) uint8 separates an object from its surroundings."""
    clear = alpha <= CLEAR
    rim = max(2, round(_BORDER_SHARE * min(alpha.shape)))
    border = np.ones_like(clear)
    border[rim:-rim, rim:-rim] = False
    cleared = clear.mean()
    if cleared < _LEAST_CLEAR_ROUND_A_RECTANGLE and _is_rectangle(~clear):
        return False
    at_border = clear[border].mean() >= _LEAST_CLEAR_BORDER
    return bool(cleared >= _LARGE_HOLE or (cleared >= _LEAST_CLEAR_AREA and at_border))


def shadow(pixels: np.ndarray) -> np.ndarray:
    """The pixels (H, W) bool of an RGBA picture (H, W, 4) uint8 that are cast shadow: black, fading."""
    alpha = pixels[..., 3]
    dark = (alpha > 0) & (alpha <= _SHADOW_ALPHA) & (pixels[..., :3].max(axis=2) <= _SHADOW_LEVEL)
    fades = dark.any() and (alpha[dark] < 0.5 * np.percentile(alpha[dark], 95)).mean() > _FADING
    return dark & fades


def window_on_shadow(pixels: np.ndarray) -> tuple[slice, slice] | None:
    """The rows and columns of an opaque rectangle with a shadow all round it: a window's screenshot.

    None where the RGBA picture (H, W, 4) uint8 shows something else.
    """
    opaque = without_specks(pixels[..., 3] > OPAQUE)
    if opaque.all() or not _is_rectangle(opaque):
        return None
    rows, columns = box = _box(opaque)
    inside = np.zeros_like(opaque)
    inside[box] = True
    width = max(2, round(_RING_WIDTH * min(rows.stop - rows.start, columns.stop - columns.start)))
    ring = (ndimage.distance_transform_edt(~inside) <= width) & ~inside
    return box if ring.any() and shadow(pixels)[ring].mean() >= _RING_SHARE else None


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _is_rectangle(mask: np.ndarray) -> bool:
    """Whether the mask fills the box round it, but for round corners."""
    return bool(mask.any() and mask[_box(mask)].mean() >= _RECTANGLE)
