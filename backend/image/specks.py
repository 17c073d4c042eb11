"""What of a mask belongs to the object, and what is a speck of noise, JPEG ringing or careless masking."""

import numpy as np
from scipy import ndimage

_LEAST_SHARE = 0.002
"""A part smaller than this share of the largest one is a speck."""


def without_specks(mask: np.ndarray, least_pixels: int = 1, reach: int = 0) -> np.ndarray:
    """The mask (H, W) bool without parts that are tiny beside the largest one, or under `least_pixels`.

    Parts that lie within `reach` pixels of each other count as one, so that a dotted line stays whole.
    """
    joined = ndimage.binary_dilation(mask, np.ones((3, 3)), iterations=reach) if reach else mask
    labels, count = ndimage.label(joined, structure=np.ones((3, 3)))
    if not count:
        return mask
    areas = np.bincount(labels[mask], minlength=count + 1)
    areas[0] = 0
    keep = areas >= max(_LEAST_SHARE * areas.max(), least_pixels)
    return keep[labels] & mask
