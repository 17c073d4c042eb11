"""Splats drawn by the published method, for comparison with renders: projected Gaussians, front to back."""

import math
from dataclasses import dataclass, replace

import numpy as np
from mathutils import Euler, Matrix

from blender_trellis.splats import harmonics, quaternions
from blender_trellis.splats.values import Splats

SIZE = 56  # pixels, both ways
FOCAL = SIZE * 1.6  # pixels
ANGLE = 2 * math.atan(SIZE / 2 / FOCAL)  # the camera's, radians
CAMERA = Matrix.LocRotScale((0.3, -1.6, 0.7), Euler((math.radians(67), 0, 0.2)), (1, 1, 1))
LOW_PASS = 0.1  # pixels²


@dataclass(frozen=True)
class Picture:
    """Which point falls on which pixel: focal lengths or, for parallel views, pixels a unit, and the middle.

    size, focal, centre: (across, down), in pixels.
    """

    size: tuple[int, int] = (SIZE, SIZE)
    focal: tuple[float, float] = (FOCAL, FOCAL)
    centre: tuple[float, float] = (SIZE / 2, SIZE / 2)
    parallel: bool = False


SQUARE = Picture()


def cloud(count: int, harmonic_count: int = 0) -> Splats:
    """A ball of flat splats on its surface, so that the near half hides the far one."""
    random = np.random.default_rng(5)
    out = random.normal(size=(count, 3))
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    side = np.cross(out, random.normal(size=(count, 3)))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    turns = np.stack([side, np.cross(out, side), out], axis=2)
    values = {
        "position": 0.4 * out,
        "f_dc": (np.array([0.9, 0.7, 0.1]) + 0.3 * out - 0.5) / harmonics.DC,
        "opacity": random.uniform(-1, 4, (count, 1)),
        "scale": np.log(random.uniform((0.03, 0.05, 0.005), (0.05, 0.09, 0.01), (count, 3))),
        "rotation": quaternions.of_matrices(turns),
        "f_rest": np.repeat(random.normal(size=(1, 3, harmonic_count)) * 0.1, count, axis=0),
    }
    return Splats(**{name: value.astype(np.float32) for name, value in values.items()})


def tangle(count: int) -> Splats:
    """Flat, long and round splats in a box, across each other, faint to solid, in strong colours."""
    random = np.random.default_rng(8)
    values = {
        "position": random.uniform(-0.4, 0.4, (count, 3)),
        "f_dc": random.uniform(-0.5, 0.5, (count, 3)) / harmonics.DC,
        "opacity": random.normal(0, 3, (count, 1)),
        "scale": random.normal(math.log(0.05), 0.5, (count, 3)),
        "rotation": random.normal(size=(count, 4)) * 3,
        "f_rest": np.zeros((count, 3, 0)),
    }
    return Splats(**{name: value.astype(np.float32) for name, value in values.items()})


def thinned(splats: Splats, factors: tuple[float, float, float]) -> Splats:
    """The splats with each of their axes made that many times as wide."""
    return replace(splats, scale=splats.scale + np.log(factors).astype(np.float32))


def rasterised(
    splats: Splats, camera: Matrix, picture: Picture = SQUARE, low_pass: float = LOW_PASS
) -> np.ndarray:
    """(height, width, 3) on black by the published method; `camera` leads from its frame to the splats'."""
    into = np.array(camera.inverted())
    seen = splats.position @ into[:3, :3].T + into[:3, 3]
    seen[:, 1:] *= -1  # y down, z ahead
    turn = np.diag([1, -1, -1]) @ into[:3, :3]
    axes = turn @ quaternions.matrices(splats.rotation) * np.exp(splats.scale)[:, None]
    far = np.ones((len(splats), 1)) if picture.parallel else seen[:, 2:]
    jacobian = np.zeros((len(splats), 2, 3))
    jacobian[:, [0, 1], [0, 1]] = picture.focal / far
    if not picture.parallel:
        jacobian[:, :, 2] = -seen[:, :2] * picture.focal / far**2
    flat = jacobian @ axes
    inverse = np.linalg.inv(flat @ flat.transpose(0, 2, 1) + low_pass * np.eye(2))
    centre = seen[:, :2] * picture.focal / far + picture.centre
    directions = splats.position - np.array(camera.translation)
    if picture.parallel:
        directions = np.tile(-np.array(camera.col[2][:3]), (len(splats), 1))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    values = harmonics.basis(directions)[:, None, : splats.f_rest.shape[2]]
    color = np.clip(0.5 + harmonics.DC * splats.f_dc + (splats.f_rest * values).sum(axis=2), 0, 1)
    peak = 1 / (1 + np.exp(-splats.opacity[:, 0]))
    width, height = picture.size
    pixels = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
    image, left = np.zeros((height, width, 3)), np.ones((height, width, 1))
    for n in np.argsort(seen[:, 2]):
        offset = pixels - centre[n]
        power = np.einsum("xyi,ij,xyj->xy", offset, inverse[n], offset)
        alpha = (peak[n] * np.exp(-0.5 * power))[..., None]
        image += left * alpha * color[n]
        left *= 1 - alpha
    return image


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Of two pictures in [0, 1], in dB."""
    return -10 * math.log10(((one - other) ** 2).mean())
