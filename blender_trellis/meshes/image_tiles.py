"""One square image for several objects: each has a tile of it for its own. No bpy here.

F faces · S texels a side.
"""

import numpy as np

MOST_TEXELS = 4096  # a side, of the whole image


def tiles_across(objects: int) -> int:
    """How many tiles stand beside each other: a power of two, so that they end where texels do."""
    return 1 << ((objects - 1).bit_length() + 1) // 2


def in_tiles(uv: np.ndarray, owners: np.ndarray, side: int) -> np.ndarray:
    """Coordinates (F, 3, 2), each face's moved from the whole image into the tile of its owner (F,)."""
    column_and_row = np.stack([owners % side, owners // side], axis=1)[:, None]
    return ((np.clip(uv, 0, 1) + column_and_row) / side).astype(np.float32)


def tile(image: np.ndarray, number: int, side: int) -> np.ndarray:
    """That tile of an image (S, S, C), whose first row is on top; tiles count from the lower left."""
    texels = len(image) // side
    left, top = number % side * texels, (side - 1 - number // side) * texels
    return image[top : top + texels, left : left + texels]
