"""Contact sheets: picture, truth, mesh and Gaussians side by side, from the camera and from behind.

S size of one tile.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from backend.files import atomic_path
from backend.geometry.mesh_files import Asset
from backend.geometry.render import render_whole
from backend.geometry.scene import turned_mesh
from backend.geometry.splat_render import render_gaussians
from backend.geometry.views import fixed_view
from backend.image import on_black
from backend.measures.unit_cube import Placement, place_gaussians
from backend.representations.gaussians import Gaussians

ROWS_A_PAGE = 10
TILE = 128
_COLUMNS = 2
_GAP = 4
_BACKGROUND = 24
_SIDES = (0.0, math.pi)  # from the camera and from behind
_VIEW = replace(fixed_view(0.0, math.radians(20), math.radians(40)), distance=2.1)  # close


@dataclass(frozen=True)
class Sheet:
    """A written page and the names of the objects on it, line by line."""

    path: Path
    names: tuple[str, ...]


def write_sheets(rows: Sequence[tuple[str, np.ndarray]], folder: Path) -> list[Sheet]:
    """Pages sheet_1.jpg, sheet_2.jpg … of ten named and drawn objects each."""
    sheets = []
    for number, first in enumerate(range(0, len(rows), ROWS_A_PAGE), start=1):
        names, drawn = zip(*rows[first : first + ROWS_A_PAGE], strict=True)
        path = folder / f"sheet_{number}.jpg"
        with atomic_path(path) as temporary:
            contact_sheet(drawn).save(temporary, "JPEG", quality=88)
        sheets.append(Sheet(path, names))
    return sheets


def contact_sheet(rows: Sequence[np.ndarray], columns: int = _COLUMNS) -> Image.Image:
    """Drawn objects (S, 7 S, 3) u8, `columns` of them a line."""
    height, width = rows[0].shape[:2]
    lines = math.ceil(len(rows) / columns)
    shape = (lines * (height + _GAP) - _GAP, columns * (width + 4 * _GAP) - 4 * _GAP, 3)
    sheet = np.full(shape, 255, np.uint8)
    for n, row in enumerate(rows):
        top, left = n // columns * (height + _GAP), n % columns * (width + 4 * _GAP)
        sheet[top : top + height, left : left + width] = row
    return Image.fromarray(sheet)


def object_row(
    picture: Image.Image, truth: Asset, mesh: Asset, gaussians: Gaussians | None, size: int = TILE
) -> np.ndarray:
    """(S, 7 S, 3) u8: picture, then truth, mesh and Gaussians, each from the camera and from behind.

    All in the unit cube; where there are no Gaussians their tiles stay dark.
    """
    tiles = [np.asarray(on_black(picture).resize((size, size), Image.Resampling.LANCZOS))]
    for asset in (truth, mesh):
        tiles += [_bytes(render_whole(turned_mesh(asset, side), _VIEW, size).color) for side in _SIDES]
    for side in _SIDES:
        turned = None if gaussians is None else place_gaussians(gaussians, Placement(side))
        dark = np.zeros((size, size, 3), np.float32)
        tiles.append(_bytes(dark if turned is None else render_gaussians(turned, _VIEW, size)))
    return np.concatenate([np.maximum(tile, _BACKGROUND) for tile in tiles], axis=1)


def _bytes(image: np.ndarray) -> np.ndarray:
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
