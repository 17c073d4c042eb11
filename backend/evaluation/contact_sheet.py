"""Contact sheets: picture, mesh and Gaussians side by side, from the camera and from behind.

S size of one tile. Everything is drawn in the model's frame, the camera on −Y.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from PIL import Image

from backend.evaluation.reconstruct import Reconstruction
from backend.evaluation.splat_render import render_gaussians
from backend.representations.gaussians import Gaussians
from backend.representations.mesh import Mesh
from backend.training.render import camera_position, project, rasterise
from backend.training.views import View, fixed_view

HALF_WIDTH = 0.68
_GAP = 4
_BACKGROUND = 24
_VIEW = fixed_view(0.0, math.radians(20), math.radians(35))


def contact_sheet(
    pictures: list[Image.Image], results: list[Reconstruction], size: int, columns: int = 2
) -> Image.Image:
    """Rows of [picture, mesh, mesh from behind, Gaussians, Gaussians from behind], `columns` objects a
    row.
    """
    rows = [object_row(picture, result, size) for picture, result in zip(pictures, results, strict=True)]
    height, width = rows[0].shape[:2]
    lines = math.ceil(len(rows) / columns)
    shape = (lines * (height + _GAP) - _GAP, columns * (width + 4 * _GAP) - 4 * _GAP, 3)
    sheet = np.full(shape, 255, np.uint8)
    for n, row in enumerate(rows):
        top, left = n // columns * (height + _GAP), n % columns * (width + 4 * _GAP)
        sheet[top : top + height, left : left + width] = row
    return Image.fromarray(sheet)


def object_row(picture: Image.Image, result: Reconstruction, size: int) -> np.ndarray:
    """(S, 5 S, 3) u8."""
    tiles = [np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.LANCZOS))]
    for behind in (False, True):
        tiles.append(_bytes(draw_mesh(result.mesh, _VIEW, size, behind)))
    for behind in (False, True):
        tiles.append(_bytes(draw_gaussians(result.gaussians, _VIEW, size, behind)))
    return np.concatenate([np.maximum(tile, _BACKGROUND) for tile in tiles], axis=1)


def draw_mesh(mesh: Mesh, view: View, size: int, behind: bool = False) -> np.ndarray:
    """(S, S, 3) f32 in [0, 1], vertex colours under a calm light, two samples a pixel side."""
    vertices, faces = mesh.vertices.double().numpy(), mesh.faces.numpy().astype(np.int32)
    if len(faces) == 0:
        return np.zeros((size, size, 3), np.float32)
    turn = -1.0 if behind else 1.0
    vertices = vertices * np.array([turn, turn, 1.0])
    samples = 2 * size
    points = project(vertices, view)
    scale = samples / 2 / HALF_WIDTH * view.distance
    points[:, :2] = points[:, :2] * scale + samples / 2
    ids, _ = rasterise(points, faces, samples)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    normal *= np.sign((normal * (camera_position(view) - a)).sum(1, keepdims=True))
    lit = np.clip(normal @ np.array(view.light.direction), 0, 1)
    shade = view.light.ambient + view.light.diffuse * lit
    colors = mesh.colors.double().numpy()[faces].mean(axis=1) * shade[:, None]
    image = np.where((ids >= 0)[..., None], colors[np.maximum(ids, 0)], 0.0)
    return np.clip(image, 0, 1).reshape(size, 2, size, 2, 3).mean(axis=(1, 3))


def draw_gaussians(gaussians: Gaussians, view: View, size: int, behind: bool = False) -> np.ndarray:
    """(S, S, 3) f32 in [0, 1]."""
    if behind:
        turn = gaussians.position.new_tensor([-1.0, -1.0, 1.0])
        # Half a turn about Z multiplies the quaternion by (0, 0, 0, 1).
        w, x, y, z = gaussians.rotation.unbind(-1)
        rotation = gaussians.rotation.new_zeros(gaussians.rotation.shape)
        rotation[:, 0], rotation[:, 1], rotation[:, 2], rotation[:, 3] = -z, -y, x, w
        gaussians = replace(gaussians, position=gaussians.position * turn, rotation=rotation)
    return render_gaussians(gaussians, view, size, HALF_WIDTH)


def _bytes(image: np.ndarray) -> np.ndarray:
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
