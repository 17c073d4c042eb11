"""Contact sheets: picture, truth, mesh and Gaussians side by side, from the camera and from behind.

S size of one tile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from backend.evaluation.drawing import sheet_gaussians, sheet_mesh
from backend.files import atomic_path
from backend.geometry.mesh_files import Asset
from backend.image import on_black
from backend.representations.gaussians import Gaussians

ROWS_A_PAGE = 10
TILE = 128
_COLUMNS = 2
_GAP = 4
_BACKGROUND = 24


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
        tiles += [_bytes(sheet_mesh(asset, size, behind)) for behind in (False, True)]
    dark = np.zeros((size, size, 3), np.float32)
    for behind in (False, True):
        tiles.append(_bytes(dark if gaussians is None else sheet_gaussians(gaussians, size, behind)))
    return np.concatenate([np.maximum(tile, _BACKGROUND) for tile in tiles], axis=1)


def _bytes(image: np.ndarray) -> np.ndarray:
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
