"""Pixels and picture files -> images packed into the .blend."""

from pathlib import Path

import bpy
import numpy as np


def packed_pixels(name: str, pixels: np.ndarray) -> bpy.types.Image:
    """A packed image of sRGB pixels (H, W, 4) uint8 with straight alpha, the lowest row first."""
    height, width, _ = pixels.shape
    image = bpy.data.images.new(name, width, height, alpha=True)
    image.alpha_mode = "STRAIGHT"
    image.pixels.foreach_set((pixels.astype(np.float32) / 255).ravel())
    image.pack()
    return image


def packed_file(name: str, file: Path) -> bpy.types.Image:
    """A packed image of a picture file that is about to go."""
    image = bpy.data.images.load(str(file))
    image.name = name
    image.pack()
    image.filepath_raw = ""
    return image
