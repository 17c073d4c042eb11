"""Outlines and colours from the picture's side, of shapes whose silhouettes are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from backend.geometry.mesh_files import Asset
from backend.geometry.render import Picture
from backend.geometry.views import fixed_view
from backend.geometry.voxelize import EMPTY, boundary
from backend.measures.outline import color_error, cropped, gaussian_picture, mesh_picture, outline_iou
from backend.representations.gaussians import SH_C0, Gaussians

AHEAD = fixed_view(0.0, 0.0, math.radians(10))


def block(x: slice, z: slice, color=(255, 128, 0)) -> Asset:
    occupied = np.zeros((32, 32, 32), bool)
    occupied[x, 14:18, z] = True
    asset = boundary(occupied)
    return replace(
        asset, corner_colors=np.broadcast_to(np.array(color, np.uint8), asset.corner_colors.shape).copy()
    )


def test_size_and_place_do_not_matter_and_the_outline_does():
    small, large = block(slice(4, 8), slice(4, 8)), block(slice(8, 24), slice(8, 24))
    assert outline_iou(mesh_picture(small, AHEAD), mesh_picture(large, AHEAD)) > 0.93
    wide = block(slice(8, 24), slice(8, 16))
    assert outline_iou(mesh_picture(wide, AHEAD), mesh_picture(large, AHEAD)) == pytest.approx(0.5, abs=0.04)
    assert outline_iou(mesh_picture(EMPTY, AHEAD), mesh_picture(large, AHEAD)) == 0


def test_colours_are_compared_without_light_where_both_show_something():
    a, b = (
        mesh_picture(block(slice(8, 24), slice(8, 24), color), AHEAD) for color in ((255, 0, 0), (0, 0, 0))
    )
    assert color_error(a, b) == pytest.approx(1 / 3, abs=1e-3)
    assert color_error(a, a) == 0
    assert color_error(a, mesh_picture(EMPTY, AHEAD)) is None


def test_a_picture_is_cropped_to_what_it_shows():
    alpha = np.zeros((100, 80), np.float32)
    alpha[60:80, 10:30] = 1
    picture = cropped(Picture(np.repeat(alpha[..., None], 3, -1) * 0.5, alpha), 120)
    rows, columns = np.nonzero(picture.alpha)
    assert picture.alpha.sum() == pytest.approx(100**2, rel=0.03)  # 120 / 1.2 pixels a side
    assert abs(rows.mean() - 59.5) < 1 and abs(columns.mean() - 59.5) < 1
    assert np.allclose(picture.color[picture.alpha > 0], 0.5)
    assert not cropped(Picture(np.zeros((9, 9, 3), np.float32), np.zeros((9, 9), np.float32)), 16).alpha.any()


def test_gaussians_cover_what_they_are_put_on():
    places = np.argwhere(np.ones((16, 1, 16))) / 32 - np.array([0.25, 0, 0.25])
    count = len(places)
    gaussians = Gaussians(
        position=torch.from_numpy(places).float(),
        color_dc=torch.full((count, 3), (0.25 - 0.5) / SH_C0),
        opacity=torch.full((count, 1), 0.99),
        scale=torch.full((count, 3), 0.02),
        rotation=torch.tensor([[1.0, 0, 0, 0]]).expand(count, 4),
    )
    picture, mesh = gaussian_picture(gaussians, AHEAD), mesh_picture(block(slice(8, 24), slice(8, 24)), AHEAD)
    assert outline_iou(picture, mesh) > 0.9
    inside = picture.alpha > 0.95
    assert np.allclose(picture.color[inside] / picture.alpha[inside, None], 0.25, atol=0.01)
