"""Small objects for the tests of training: a cube and a sphere, written as the npz files of the data
folder.
"""

import numpy as np

from backend.geometry.mesh_files import Asset

_CUBE_FACES = (
    (0, 2, 3), (0, 3, 1), (4, 5, 7), (4, 7, 6), (0, 1, 5), (0, 5, 4),
    (2, 6, 7), (2, 7, 3), (0, 4, 6), (0, 6, 2), (1, 3, 7), (1, 7, 5),
)  # fmt: skip


def cube(side: float = 1.0, color: tuple[int, int, int] = (200, 100, 50)) -> Asset:
    """An axis-aligned cube round the origin, faces counter-clockwise from outside."""
    corners = np.array([(x, y, z) for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)], np.float32) * side / 2
    return colored(corners, np.array(_CUBE_FACES, np.int32), color)


def sphere(radius: float = 0.5, rings: int = 24, color: tuple[int, int, int] = (50, 100, 200)) -> Asset:
    """A sphere round the origin from latitude rings, closed at the poles."""
    polar = np.linspace(0, np.pi, rings + 1)
    around = np.arange(2 * rings) * np.pi / rings
    grid = np.stack(
        [
            np.outer(np.sin(polar), np.cos(around)),
            np.outer(np.sin(polar), np.sin(around)),
            np.outer(np.cos(polar), np.ones_like(around)),
        ],
        axis=-1,
    )
    columns = 2 * rings
    faces = []
    for i in range(rings):
        for j in range(columns):
            a, b = i * columns + j, i * columns + (j + 1) % columns
            c, d = a + columns, b + columns
            faces += [(a, c, d), (a, d, b)]
    return colored((grid * radius).reshape(-1, 3).astype(np.float32), np.array(faces, np.int32), color)


def colored(vertices: np.ndarray, faces: np.ndarray, color: tuple[int, int, int]) -> Asset:
    """An asset of one colour, flat shaded."""
    colors = np.broadcast_to(np.array(color, np.uint8), (len(faces), 3, 3)).copy()
    return Asset(vertices, faces, colors, np.zeros(len(faces), bool))


def save(asset: Asset, path) -> None:
    """Writes the npz format that `load_asset` reads."""
    np.savez(
        path,
        vertices=asset.vertices,
        faces=asset.faces,
        corner_colors=asset.corner_colors,
        smooth=np.packbits(asset.smooth),
    )
