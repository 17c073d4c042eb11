"""The colours that Gaussians show from outside: views of them from all sides, put back onto the surface.

What is seen of splats is a blend of many along each ray, which their colours at one point do not tell.
P texels · V vertices · F faces · Z size of a view.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numba import njit

from backend.geometry.splat_render import Splats, draw_splats
from backend.geometry.views import FEATURE_FOV, View, feature_views
from backend.representations.gaussians import Gaussians
from backend.texturing.camera import Camera, around
from backend.texturing.texels import Texels

VIEWS = 24
_SIZES = 256, 384  # of a view, in pixels a side: a quarter of the texture, within these
_AT_ONCE = 4  # views that are drawn, or parts of the texels that look them up
_PARTS = 16
_FRAME = 0.02, 0.02, 0.98, 0.98  # what the object fills of a view
_GRAZING = 0.15  # least cosine between the view and the surface
_COVERED = 0.5
# How far before or behind the surface the splats may lie on average, in longest sides of the mesh: those
# farther off belong to something else behind a place without any.
_NEAR = 0.15
_BIAS = 0.004


def seen_colors(
    texels: Texels,
    gaussians: Gaussians,
    vertices: np.ndarray,
    faces: np.ndarray,
    wait: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Colours (P, 3) f32 in [0, 1] of the Gaussians as views from around the mesh (V, 3), (F, 3) see them at
    the texels, and the summed weight of those views (P,): 0 where none sees the surface or splats are.

    A view that looks straight at the surface weighs 1. `wait` is called after each and may raise to stop.
    """
    sums = np.zeros((len(texels.place), 4), np.float32)
    if len(gaussians) == 0 or len(texels.place) == 0:
        return sums[:, :3], sums[:, 3]
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    middle, side = (low + high) / 2, max(float((high - low).max()), 1e-9)
    vertices = (vertices - middle) / side
    position = ((texels.position - middle) / side).astype(np.float32)
    normals = _face_normals(vertices, faces)
    splats = Splats.of(moved(gaussians, middle, side))
    size = int(np.clip(texels.size // 4, *_SIZES))

    def view_from(view: View) -> tuple[np.ndarray, ...]:
        camera = around(vertices, view.azimuth, view.elevation, FEATURE_FOV, _FRAME)
        inverse = camera.depths(vertices, faces, size)[1]
        return camera.frame, camera.lens(size), drawn(splats, camera, size), inverse

    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        views = []
        for seen in pool.map(view_from, feature_views(VIEWS, np.random.default_rng(0))):
            views.append(seen)
            wait()

        def gather(part: slice) -> None:
            for frame, lens, shown, inverse in views:
                _gather(position[part], texels.face[part], normals, frame, lens, shown, inverse, sums[part])

        ends = np.linspace(0, len(position), _PARTS + 1).astype(int)
        for _ in pool.map(gather, map(slice, ends, ends[1:])):
            wait()
    finally:
        pool.shutdown(cancel_futures=True)
    return sums[:, :3] / np.maximum(sums[:, 3:], 1e-9), sums[:, 3]


def drawn(splats: Splats, camera: Camera, size: int) -> np.ndarray:
    """(Z, Z, 5) f32: colours, multiplied by how far splats cover the pixel · that · their mean depth, too."""
    seen = draw_splats(splats, camera.axes, camera.distance, camera.focal, size, camera.centre)
    return np.concatenate([seen.color, seen.cover[..., None], seen.depth[..., None]], axis=-1)


def _face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (F, 3) f32, 0 where a face has no area: smooth ones would call seen what turns away."""
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    normals = np.cross(b - a, c - a)
    return (normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)).astype(np.float32)


def moved(gaussians: Gaussians, middle: np.ndarray, side: float) -> Gaussians:
    """The splats in the frame whose unit cube has this middle (3,) and side; float64, on the processor."""
    parts = (gaussians.position.cpu().double(), gaussians.scale.cpu().double())
    return replace(
        gaussians,
        position=(parts[0] - parts[0].new_tensor(middle)) / side,
        scale=parts[1] / side,
        color_dc=gaussians.color_dc.cpu(),
        opacity=gaussians.opacity.cpu(),
        rotation=gaussians.rotation.cpu().double(),
    )


@njit(nogil=True, cache=True)
def _gather(points, face, normals, frame, lens, shown, inverse, sums):
    """Adds what a view shows of each point that it sees to sums: colour times weight, and weight.

    frame: rows right, up, ahead and the eye · lens: focal length and where the middle falls, in pixels.
    """
    size = inverse.shape[0]
    # Double precision takes half as long again.
    one, half, zero = np.float32(1), np.float32(0.5), np.float32(0)
    grazing, bias, near = np.float32(_GRAZING), np.float32(_BIAS), np.float32(_NEAR)
    for p in range(points.shape[0]):
        x, y, z = points[p, 0] - frame[3, 0], points[p, 1] - frame[3, 1], points[p, 2] - frame[3, 2]
        normal = normals[face[p]]
        towards = -(normal[0] * x + normal[1] * y + normal[2] * z)
        if towards <= zero:
            continue
        cosine = towards / np.sqrt(x * x + y * y + z * z)
        if cosine < grazing:
            continue
        ahead = frame[2, 0] * x + frame[2, 1] * y + frame[2, 2] * z
        right = frame[0, 0] * x + frame[0, 1] * y + frame[0, 2] * z
        up = frame[1, 0] * x + frame[1, 1] * y + frame[1, 2] * z
        scale = lens[0] / ahead
        column, row = right * scale + lens[1] - half, lens[2] - up * scale - half
        left, top = int(column), int(row)
        if column < zero or row < zero or left >= size - 1 or top >= size - 1:
            continue
        slope = np.sqrt(max(one - cosine * cosine, zero)) / cosine
        if inverse[int(row + half), int(column + half)] > one / (ahead - bias - slope / scale):
            continue
        h, v = column - np.float32(left), row - np.float32(top)
        a, b, c, d = (one - h) * (one - v), h * (one - v), (one - h) * v, h * v
        above, below, beside = shown[top], shown[top + 1], left + 1
        cover = a * above[left, 3] + b * above[beside, 3] + c * below[left, 3] + d * below[beside, 3]
        if cover < _COVERED:
            continue
        depth = a * above[left, 4] + b * above[beside, 4] + c * below[left, 4] + d * below[beside, 4]
        if abs(depth / cover - ahead) > near:
            continue
        weight = cosine * cosine
        share = weight / cover
        for k in range(3):
            value = a * above[left, k] + b * above[beside, k] + c * below[left, k] + d * below[beside, k]
            sums[p, k] += share * value
        sums[p, 3] += weight
