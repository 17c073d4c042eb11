"""Objects of the unit cube as pictures: meshes and Gaussians, from any side. S picture size."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from backend.evaluation.unit_cube import Placement, place_asset, place_gaussians
from backend.geometry.mesh_files import Asset
from backend.geometry.render import render_whole
from backend.geometry.splat_render import render_gaussians
from backend.geometry.views import Light, View, fitting_distance, fixed_view
from backend.representations.gaussians import Gaussians

SCORED_SIZE = 256
SCORED_DIRECTIONS = tuple(math.radians(45 + 90 * n) for n in range(4))  # from the picture's azimuth
# The field of view holds the whole unit cube from every side.
_FOV = math.radians(40)
_SCORED_VIEW = View(0.0, math.radians(15), _FOV, fitting_distance(_FOV), Light((0.0, -1.0, 0.0), 1.0, 0.0))
_SHEET_VIEW = replace(fixed_view(0.0, math.radians(20), math.radians(40)), distance=2.1)  # closer


def truth_renders(truth: Asset) -> list[np.ndarray]:
    """The mesh from the scored directions, unlit, on black: (S, S, 3) f32 each."""
    return [
        _mesh(place_asset(truth, Placement(azimuth)), _SCORED_VIEW, SCORED_SIZE)
        for azimuth in SCORED_DIRECTIONS
    ]


def gaussian_renders(gaussians: Gaussians) -> list[np.ndarray]:
    """The Gaussians from the scored directions, on black: (S, S, 3) f32 each."""
    return [
        render_gaussians(place_gaussians(gaussians, Placement(azimuth)), _SCORED_VIEW, SCORED_SIZE)
        for azimuth in SCORED_DIRECTIONS
    ]


def sheet_mesh(asset: Asset, size: int, behind: bool) -> np.ndarray:
    """(S, S, 3) f32 under a calm light, from the camera or from behind."""
    turned = place_asset(asset, Placement(math.pi if behind else 0.0))
    return _mesh(turned, _SHEET_VIEW, size)


def sheet_gaussians(gaussians: Gaussians, size: int, behind: bool) -> np.ndarray:
    """(S, S, 3) f32, from the camera or from behind."""
    turned = place_gaussians(gaussians, Placement(math.pi if behind else 0.0))
    return render_gaussians(turned, _SHEET_VIEW, size)


def _mesh(asset: Asset, view: View, size: int) -> np.ndarray:
    if len(asset.faces) == 0:
        return np.zeros((size, size, 3), np.float32)
    return render_whole(asset, view, size).color
