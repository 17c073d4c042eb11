"""A small picture of a collection, drawn by numpy: it needs no window and leaves scenes as they are.

Surfaces and splats become many coloured points, of which each pixel shows the nearest. N points · T triangles
"""

import math
from dataclasses import dataclass

import bpy
import numpy as np

from ..scene.find_asset import part, world_matrix
from ..scene.gaussians.object import is_gaussian, splats_of
from ..splats import quaternions
from ..srgb import linear_from_srgb, srgb_from_linear
from .colors import corner_colors

SIZE = 256
AZIMUTH, ELEVATION = math.radians(35), math.radians(22)  # from the front (-Y) towards the right, and up
POINTS_PER_PIXEL = 12
MARGIN = 0.06  # of the picture's side, left free all around
DEPTH = 3.0  # pixels behind the nearest point that count as the same surface
LIGHT = np.array([-0.45, 0.55, 0.7])  # right, up and towards the eye
AMBIENT = 0.45
SH_0 = 0.28209479177387814


@dataclass(frozen=True)
class _Points:
    """In the world: places (N, 3), colors (N, 3) linear, normals (N, 3) or zero where nothing is shaded."""

    places: np.ndarray
    colors: np.ndarray
    normals: np.ndarray


def thumbnail(collection: bpy.types.Collection, size: int = SIZE) -> np.ndarray:
    """(size, size, 4) sRGB and alpha in [0, 1], the lowest row first; transparent without bodies."""
    random = np.random.default_rng(0)
    count = POINTS_PER_PIXEL * size * size
    items = _drawn(collection)
    drawn = [
        _of_splats(item, random, count) if is_gaussian(item) else _of_mesh(item, random, count)
        for item in items
    ]
    drawn = [points for points in drawn if len(points.places)]
    if not drawn:
        return np.zeros((size, size, 4), np.float32)
    return _picture(
        np.concatenate([one.places for one in drawn]),
        np.concatenate([one.colors for one in drawn]),
        np.concatenate([one.normals for one in drawn]),
        size,
    )


def _drawn(collection: bpy.types.Collection) -> list[bpy.types.Object]:
    """The objects that are shown; where all are hidden, the one that a new result would show."""
    shown = [item for item in collection.objects if item.type == "MESH" and not item.hide_viewport]
    if shown:
        return shown
    parts = (part(collection, kind) for kind in ("finished", "mesh", "gaussian"))
    return [item for item in parts if item is not None][:1]


def _of_mesh(item: bpy.types.Object, random: np.random.Generator, count: int) -> _Points:
    mesh = item.data
    mesh.calc_loop_triangles()
    corners = np.empty(3 * len(mesh.loop_triangles), np.int32)
    vertices = np.empty_like(corners)
    mesh.loop_triangles.foreach_get("loops", corners)
    mesh.loop_triangles.foreach_get("vertices", vertices)
    coordinates = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", coordinates)
    normals = np.empty(3 * len(mesh.loops), np.float32)
    mesh.corner_normals.foreach_get("vector", normals)
    matrix = np.array(world_matrix(item), np.float32)
    places = coordinates.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
    triangles = places[vertices].reshape(-1, 3, 3)
    cross = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    chosen = _chosen(np.linalg.norm(cross, axis=1), random, count)
    weights = random.random((len(chosen), 2), np.float32)
    weights = np.where(weights.sum(axis=1, keepdims=True) > 1, 1 - weights, weights)
    weights = np.concatenate([1 - weights.sum(axis=1, keepdims=True), weights], axis=1)

    def mixed(values: np.ndarray) -> np.ndarray:
        """Of (T, 3, 3), a row for each corner, what lies at the points."""
        return np.einsum("nk,nkc->nc", weights, values[chosen])

    turned = normals.reshape(-1, 3) @ np.linalg.pinv(matrix[:3, :3])
    colors = corner_colors(mesh)
    return _Points(
        mixed(triangles), mixed(colors[corners].reshape(-1, 3, 3)), mixed(turned[corners].reshape(-1, 3, 3))
    )


def _of_splats(item: bpy.types.Object, random: np.random.Generator, count: int) -> _Points:
    splats = splats_of(item).moved(np.array(world_matrix(item))).sound()
    deviations = np.exp(splats.scale.astype(np.float64))
    widest = np.sort(deviations, axis=1)[:, 1:].prod(axis=1)
    opacity = 1 / (1 + np.exp(-splats.opacity[:, 0].astype(np.float64)))
    chosen = _chosen(np.where(opacity > 0.1, widest * opacity, 0.0), random, count)
    steps = deviations[chosen] * random.normal(size=(len(chosen), 3))
    away = np.einsum("nij,nj->ni", quaternions.matrices(splats.rotation)[chosen], steps)
    places = splats.position[chosen] + away.astype(np.float32)
    colors = linear_from_srgb(0.5 + SH_0 * splats.f_dc)[chosen]
    return _Points(places, colors, np.zeros_like(places))


def _chosen(weights: np.ndarray, random: np.random.Generator, count: int) -> np.ndarray:
    """`count` indices, each as often as its weight says; none where all weights are zero."""
    total = np.cumsum(weights, dtype=np.float64)
    if not len(total) or not np.isfinite(total[-1]) or total[-1] <= 0:
        return np.empty(0, np.int64)
    steps = (np.arange(count) + random.random()) / count
    return np.minimum(np.searchsorted(total, steps * total[-1], side="right"), len(total) - 1)


def _picture(places: np.ndarray, colors: np.ndarray, normals: np.ndarray, size: int) -> np.ndarray:
    right = np.array([math.cos(AZIMUTH), math.sin(AZIMUTH), 0.0])
    toward = np.array(
        [
            math.sin(AZIMUTH) * math.cos(ELEVATION),
            -math.cos(AZIMUTH) * math.cos(ELEVATION),
            math.sin(ELEVATION),
        ]
    )
    axes = np.stack([right, np.cross(toward, right), toward])
    seen = places @ axes.T
    low, high = seen[:, :2].min(axis=0), seen[:, :2].max(axis=0)
    pixels = (1 - 2 * MARGIN) * size / max(float((high - low).max()), 1e-9)
    spots = ((seen[:, :2] - (low + high) / 2) * pixels + size / 2).astype(np.int64).clip(0, size - 1)
    spot, depth = spots[:, 1] * size + spots[:, 0], seen[:, 2] * pixels
    nearest = np.full(size * size, -np.inf)
    order = np.argsort(depth)
    nearest[spot[order]] = depth[order]  # of several the last, which is the nearest
    front = depth >= nearest[spot] - DEPTH
    lengths = np.linalg.norm(normals[front], axis=1)
    light = LIGHT / np.linalg.norm(LIGHT)
    turned = normals[front] @ axes.T
    turned *= np.where(turned[:, 2:] < 0, -1, 1)  # faces are lit on the side that is seen
    facing = np.maximum(turned @ light, 0) / np.maximum(lengths, 1e-12)
    shade = np.where(lengths > 0, AMBIENT + (1 - AMBIENT) * facing, 1.0)
    lit = colors[front] * shade[:, None]
    hits = np.bincount(spot[front], minlength=size * size)
    sums = [np.bincount(spot[front], lit[:, channel], size * size) for channel in range(3)]
    shown = srgb_from_linear(np.stack(sums, axis=1) / np.maximum(hits, 1)[:, None])
    picture = np.concatenate([shown, (hits > 0)[:, None]], axis=1)
    return picture.reshape(size, size, 4).astype(np.float32)
