"""A small z-buffer rasteriser: a coloured mesh and a view -> the picture that backend.image would hand on.

Pictures are cropped to the silhouette times 1.2 and composed on black, as in preprocessing. V vertices ·
F faces · S picture size. The kernels release the GIL, so pictures can be drawn while the network trains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from PIL import Image

from backend.geometry.mesh_files import Asset
from backend.geometry.views import View

CROP_MARGIN = 1.2
CUTOUT_SIZE, CUTOUT_MARGIN = 512, 1.3
_SUPERSAMPLING = 2


@dataclass(frozen=True)
class Picture:
    """color (S, S, 3) f32 in [0, 1], premultiplied by alpha (S, S)."""

    color: np.ndarray
    alpha: np.ndarray


def render(mesh: Asset, view: View, size: int, margin: float = CROP_MARGIN) -> Picture:
    """Draws an aligned mesh from the view's elevation, cropped to the silhouette.

    The view's azimuth is already in the vertices.
    """
    points = project(mesh.vertices, view)
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    extent = max(float((high - low).max()) * margin, 1e-9)
    points[:, :2] = (points[:, :2] - (low + high) / 2) / extent + 0.5
    return _draw(points, mesh, view, size)


def render_whole(mesh: Asset, view: View, size: int) -> Picture:
    """Like `render`, but all that the camera's field of view holds, the origin in the middle."""
    points = project(mesh.vertices, view)
    points[:, :2] = points[:, :2] * focal_length(view) + 0.5
    return _draw(points, mesh, view, size)


def draw_cutout(mesh: Asset, view: View, size: int = CUTOUT_SIZE) -> Image.Image:
    """An aligned mesh as a picture file would show it: RGBA, filling the picture, without a background."""
    return cutout(render(mesh, view, size, CUTOUT_MARGIN))


def focal_length(view: View) -> float:
    """In picture widths."""
    return 0.5 / math.tan(view.fov / 2)


def cutout(picture: Picture) -> Image.Image:
    """The picture as a file would hold it: RGBA, colours not multiplied by alpha."""
    color = picture.color / np.maximum(picture.alpha, 1e-3)[..., None]
    pixels = np.concatenate([color, picture.alpha[..., None]], axis=-1)
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).round().astype(np.uint8), "RGBA")


def _draw(points: np.ndarray, mesh: Asset, view: View, size: int) -> Picture:
    """points (V, 3): column and row in [0, 1] where in the picture, and inverse depth."""
    vertices, faces = mesh.vertices, mesh.faces
    samples = size * _SUPERSAMPLING
    points[:, :2] *= samples
    face_ids, _ = rasterise(points, faces, samples)
    direction = np.array(view.light.direction)
    normals = vertex_normals(vertices, faces)
    eye = camera_position(view)
    color = _shade(
        face_ids, points, vertices, faces, mesh.corner_colors, mesh.smooth, normals, eye, direction,
        view.light.ambient, view.light.diffuse,
    )  # fmt: skip
    alpha = (face_ids >= 0).astype(np.float32)
    return Picture(_shrink(color, _SUPERSAMPLING), _shrink(alpha[..., None], _SUPERSAMPLING)[..., 0])


def camera_position(view: View) -> np.ndarray:
    """The eye (3,) on the −Y side."""
    return view.distance * np.array([0.0, -math.cos(view.elevation), math.sin(view.elevation)])


def project(vertices: np.ndarray, view: View) -> np.ndarray:
    """(V, 3) -> (V, 3): column and row (rows grow downwards) on the plane at unit depth, and inverse
    depth.
    """
    c, s = math.cos(view.elevation), math.sin(view.elevation)
    x, y, z = vertices.T
    depth = np.maximum(view.distance + y * c - z * s, 1e-3)
    return np.stack([x / depth, -(z * c + y * s) / depth, 1.0 / depth], axis=1)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals (V, 3); zero where a vertex has no face."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    face_normals = np.cross(b - a, c - a)
    normals = np.zeros((len(vertices), 3))
    for i in range(3):
        np.add.at(normals, faces[:, i], face_normals)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


@njit(nogil=True, cache=True)
def rasterise(points: np.ndarray, faces: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """points (V, 3): column, row in pixels, inverse depth -> nearest face (S, S) or −1, inverse depth (S,
    S).
    """
    return rasterise_where(points, faces, np.ones((size, size), np.bool_))


@njit(nogil=True, cache=True)
def rasterise_where(
    points: np.ndarray, faces: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same, but only of pixels that are `wanted` (S, S); of the others −1 and 0."""
    size = wanted.shape[0]
    face_ids = np.full((size, size), -1, np.int32)
    nearest = np.zeros((size, size), np.float32)
    for f in range(faces.shape[0]):
        a, b, c = points[faces[f, 0]], points[faces[f, 1]], points[faces[f, 2]]
        left, right, top, bottom = _pixels_of(a, b, c, size)
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if abs(area) < 1e-12:
            continue
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                if not wanted[row, column]:
                    continue
                x = column + 0.5
                w0 = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) / area
                w1 = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) / area
                w2 = 1.0 - w0 - w1
                if w0 < 0.0 or w1 < 0.0 or w2 < 0.0:
                    continue
                inverse_depth = w0 * a[2] + w1 * b[2] + w2 * c[2]
                if inverse_depth > nearest[row, column]:
                    nearest[row, column] = inverse_depth
                    face_ids[row, column] = f
    return face_ids, nearest


@njit(nogil=True, cache=True)
def touched_pixels(points: np.ndarray, faces: np.ndarray, size: int) -> np.ndarray:
    """The pixels (S, S) that `rasterise` could draw the faces into, and some beside them."""
    touched = np.zeros((size, size), np.bool_)
    for f in range(faces.shape[0]):
        a, b, c = points[faces[f, 0]], points[faces[f, 1]], points[faces[f, 2]]
        left, right, top, bottom = _pixels_of(a, b, c, size)
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                touched[row, column] = True
    return touched


@njit(nogil=True, cache=True)
def _pixels_of(a, b, c, size):
    """The first and last column and row whose centres lie in the box of a face."""
    left = max(0, int(math.ceil(min(a[0], b[0], c[0]) - 0.5)))
    right = min(size - 1, int(math.floor(max(a[0], b[0], c[0]) - 0.5)))
    top = max(0, int(math.ceil(min(a[1], b[1], c[1]) - 0.5)))
    bottom = min(size - 1, int(math.floor(max(a[1], b[1], c[1]) - 0.5)))
    return left, right, top, bottom


@njit(nogil=True, cache=True)
def _shade(face_ids, points, vertices, faces, corner_colors, smooth, normals, eye, light, ambient, diffuse):
    """Perspective-correct colour times a two-sided Lambert term: (S, S, 3) in [0, 1]."""
    size = face_ids.shape[0]
    color = np.zeros((size, size, 3), np.float32)
    normal, place = np.zeros(3), np.zeros(3)
    w = np.zeros(3)
    for row in range(size):
        for column in range(size):
            f = face_ids[row, column]
            if f < 0:
                continue
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            _perspective_weights(points[i], points[j], points[k], column + 0.5, row + 0.5, w)
            _face_normal(vertices[i], vertices[j], vertices[k], normal)
            for axis in range(3):
                place[axis] = w[0] * vertices[i, axis] + w[1] * vertices[j, axis] + w[2] * vertices[k, axis]
            facing = 0.0
            for axis in range(3):
                facing += normal[axis] * (eye[axis] - place[axis])
            side = 1.0 if facing >= 0 else -1.0
            lit, length = 0.0, 0.0
            for axis in range(3):
                n = normal[axis]
                if smooth[f]:
                    n = w[0] * normals[i, axis] + w[1] * normals[j, axis] + w[2] * normals[k, axis]
                lit += n * light[axis]
                length += n * n
            lit = max(0.0, side * lit / math.sqrt(max(length, 1e-12)))
            shade = ambient + diffuse * lit
            for channel in range(3):
                base = 0.0
                for corner in range(3):
                    base += w[corner] * corner_colors[f, corner, channel]
                color[row, column, channel] = min(1.0, base / 255.0 * shade)
    return color


@njit(nogil=True, cache=True)
def _perspective_weights(a, b, c, x, y, out):
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    out[0] = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) / area * a[2]
    out[1] = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) / area * b[2]
    out[2] = ((a[0] - x) * (b[1] - y) - (a[1] - y) * (b[0] - x)) / area * c[2]
    total = out[0] + out[1] + out[2]
    for i in range(3):
        out[i] /= total


@njit(nogil=True, cache=True)
def _face_normal(a, b, c, out):
    out[0] = (b[1] - a[1]) * (c[2] - a[2]) - (b[2] - a[2]) * (c[1] - a[1])
    out[1] = (b[2] - a[2]) * (c[0] - a[0]) - (b[0] - a[0]) * (c[2] - a[2])
    out[2] = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _shrink(image: np.ndarray, factor: int) -> np.ndarray:
    """(S·f, S·f, C) -> (S, S, C) by averaging."""
    size, channels = image.shape[0] // factor, image.shape[2]
    return image.reshape(size, factor, size, factor, channels).mean(axis=(1, 3)).astype(np.float32)
