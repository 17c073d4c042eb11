"""A textured mesh as a camera sees it, without light: what a texture is judged by.

S picture size.
"""

import numpy as np
import torch

from backend.representations.mesh import TexturedMesh
from backend.texturing.camera import Camera


def render_texture(mesh: TexturedMesh, camera: Camera, size: int, samples: int = 2) -> np.ndarray:
    """(S, S, 4) f32 in [0, 1], colours not multiplied by alpha; `samples` a side are taken in each pixel."""
    image = mesh.image.astype(np.float32) / 255
    side = size * samples
    place, uv = uv_seen(mesh, camera, side)
    drawn = np.zeros((side * side, 4), np.float32)
    drawn[place, :3], drawn[place, 3] = _bilinear(image, uv), 1
    blocks = drawn.reshape(size, samples, size, samples, 4).mean(axis=(1, 3))
    return np.concatenate([blocks[..., :3] / np.maximum(blocks[..., 3:], 1e-6), blocks[..., 3:]], axis=-1)


def uv_seen(mesh: TexturedMesh, camera: Camera, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of side² pixels show the mesh, (P,) row by row, and where in the texture each looks, (P, 2)."""
    vertices, faces = mesh.vertices.numpy(), mesh.faces.numpy()
    ids, _ = camera.depths(vertices, faces, side)
    points = camera.project(vertices)
    points[:, :2] *= side
    place = np.flatnonzero(ids.reshape(-1) >= 0)
    corners = faces[ids.reshape(-1)[place]]
    weights = _perspective_weights(points, corners, place, side)
    return place, np.einsum("pc,pcx->px", weights, mesh.uv.numpy()[corners])


def _perspective_weights(points: np.ndarray, corners: np.ndarray, place: np.ndarray, side: int) -> np.ndarray:
    """Weights (P, 3) of the corners at the pixels, in space instead of in the picture."""
    a, b, c = (points[corners[:, i]] for i in range(3))
    x, y = place % side + 0.5, place // side + 0.5
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    first = ((b[:, 0] - x) * (c[:, 1] - y) - (b[:, 1] - y) * (c[:, 0] - x)) / area
    second = ((c[:, 0] - x) * (a[:, 1] - y) - (c[:, 1] - y) * (a[:, 0] - x)) / area
    weights = np.stack([first * a[:, 2], second * b[:, 2], (1 - first - second) * c[:, 2]], axis=1)
    return weights / weights.sum(axis=1, keepdims=True)


def _bilinear(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Colours (P, 3) between the texels of an image (S, S, 3), as graphics cards read it."""
    grid = torch.from_numpy(np.stack([uv[:, 0] * 2 - 1, 1 - uv[:, 1] * 2], axis=1).astype(np.float32))
    planes = torch.from_numpy(image).permute(2, 0, 1)[None]
    read = torch.nn.functional.grid_sample(
        planes, grid[None, None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return read[0, :, 0].T.numpy()
