"""What the model is measured on: objects seen from directions that training never used.

S picture size · V vertices · F faces.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from backend.background import remove_background
from backend.image import preprocess
from backend.training.assets import Entry, load_asset
from backend.training.dataset import Scene, make_scene
from backend.training.render import render
from backend.training.views import View, fixed_view, held_out_azimuth, held_out_view

PICTURE_SIZE = 512
_MARGIN = 1.3


@dataclass(frozen=True)
class Case:
    """A scene in the model's frame, its picture as a file would hold it (RGBA), and as the encoder gets it
    (RGB).
    """

    scene: Scene
    cutout: Image.Image
    picture: Image.Image


def held_out_case(entry: Entry) -> Case:
    """The entry from inside its held-out sector."""
    rng = np.random.default_rng(zlib.crc32(entry.name.encode()))
    return make_case(entry, held_out_view(entry.name, rng))


def front_case(entry: Entry) -> Case:
    """The entry from the middle of its held-out sector, at a calm elevation and light."""
    return make_case(entry, fixed_view(held_out_azimuth(entry.name), np.radians(18.0), np.radians(38.0)))


def make_case(entry: Entry, view: View) -> Case:
    """Draws the picture and sends it through the preprocessing that every picture gets."""
    scene = make_scene(entry.name, load_asset(entry.path), view)
    cutout = draw_cutout(scene)
    return Case(scene, cutout, preprocess(cutout, remove_background))


def draw_cutout(scene: Scene) -> Image.Image:
    """The scene as an RGBA picture of 512²."""
    drawn = render(
        scene.upright, scene.faces, scene.corner_colors, scene.smooth, scene.view, PICTURE_SIZE, _MARGIN
    )
    color = drawn.color / np.maximum(drawn.alpha, 1e-3)[..., None]
    pixels = np.concatenate([color, drawn.alpha[..., None]], axis=-1)
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).round().astype(np.uint8), "RGBA")
