"""What the model is measured on: objects seen from directions that training never used.

S picture size · V vertices · F faces.
"""

import math
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from backend.background import remove_background
from backend.geometry.mesh_files import Asset, Entry, load_asset
from backend.geometry.render import draw_cutout
from backend.geometry.scene import Scene, make_scene
from backend.geometry.views import View, fixed_view, held_out_azimuth, held_out_view, random_view
from backend.image import cut_out


@dataclass(frozen=True)
class Case:
    """A scene in the model's frame, its picture as a file would hold it, and as the encoder gets it."""

    scene: Scene
    cutout: Image.Image
    picture: Image.Image


def held_out_case(entry: Entry) -> Case:
    """The entry from inside its held-out sector."""
    rng = np.random.default_rng(zlib.crc32(entry.name.encode()))
    return _case(entry.name, load_asset(entry.path, split=True), held_out_view(entry.name, rng))


def front_case(entry: Entry) -> Case:
    """The entry from the middle of its held-out sector, at a calm elevation and light."""
    view = fixed_view(held_out_azimuth(entry.name), np.radians(18.0), np.radians(38.0))
    return _case(entry.name, load_asset(entry.path, split=True), view)


def scored_cases(entry: Entry, count: int, seed: int) -> list[Case]:
    """The entry as every object is scored: from azimuth 35°, elevation 20°, then from random sides.

    The random ones, in the range that training sees, depend on the seed and the entry's name alone.
    """
    asset = load_asset(entry.path, split=True)
    rng = np.random.default_rng((seed, zlib.crc32(entry.name.encode())))
    first = fixed_view(math.radians(35), math.radians(20), math.radians(40))
    views = [first, *(random_view(rng) for _ in range(1, count))]
    return [_case(entry.name, asset, view) for view in views]


def _case(name: str, asset: Asset, view: View) -> Case:
    """Draws the picture and sends it through the preprocessing that every picture gets."""
    scene = make_scene(name, asset, view)
    drawn = draw_cutout(scene.mesh, scene.view)
    return Case(scene, drawn, cut_out(drawn, remove_background))
