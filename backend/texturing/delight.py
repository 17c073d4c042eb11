"""Soft shading out of a picture: what changes slowly over an object is light, the rest is paint."""

import numpy as np
from scipy import ndimage

_REACH = 0.1  # of the picture's width
_STRENGTH = 0.8  # part of what changes slowly is paint all the same
_DARKEST = 0.02


def without_shading(pixels: np.ndarray) -> np.ndarray:
    """A picture (S, S, 4) u8 with its brightness evened out; its mean brightness, hues and alpha stay."""
    color, alpha = pixels[..., :3].astype(np.float64) / 255, pixels[..., 3] / 255.0
    if alpha.sum() == 0:
        return pixels
    brightness = np.log(np.maximum(color @ [0.3, 0.59, 0.11], _DARKEST))
    blurred, weight = (
        ndimage.gaussian_filter(values, _REACH * len(pixels), mode="constant")
        for values in (brightness * alpha, alpha)
    )
    soft = blurred / np.maximum(weight, 1e-9)
    mean = (soft * alpha).sum() / alpha.sum()
    evened = color * np.exp(_STRENGTH * (mean - soft))[..., None]
    return np.concatenate([np.rint(evened.clip(0, 1) * 255).astype(np.uint8), pixels[..., 3:]], axis=-1)
