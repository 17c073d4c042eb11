"""A region as JSON, as `python -m backend edit --region` takes it, for a message: boxes and closed meshes.

{"boxes": [{"center": [x, y, z], "size": [x, y, z], "rotation": [w, x, y, z]} or {"matrix": 4 × 4}, …],
 "meshes": [{"vertices": V × 3, "faces": F × 3}, …]}, all in the asset's frame, where it fills [-0.5, 0.5].
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..editing.region_mask import check_count
from ..faults import Fault

LARGEST_FILE = 256 << 20


@dataclass(frozen=True)
class Region:
    """`boxes`: row-major matrices that take the cube [-1, 1]³ into the asset's frame. `meshes`: vertices
    (V, 3) float32 and faces (F, 3) int32 each."""

    boxes: tuple[tuple[float, ...], ...]
    meshes: tuple[tuple[np.ndarray, np.ndarray], ...]


def region_of(said: Path | Mapping[str, Any]) -> Region:
    """A region that is written out, or that a file holds. Fault where it is none."""
    content = _read(said) if isinstance(said, Path) else said
    if not isinstance(content, Mapping) or not set(content) <= {"boxes", "meshes"}:
        raise Fault("A region is a JSON object with the lists boxes and meshes: correct it.")
    boxes, meshes = (content.get(key, []) for key in ("boxes", "meshes"))
    if not all(
        isinstance(listed, list) and all(isinstance(one, dict) for one in listed)
        for listed in (boxes, meshes)
    ):
        raise Fault("boxes and meshes of a region are lists of JSON objects: correct it.")
    if not boxes and not meshes:
        raise Fault("The region has neither a box nor a mesh: add one.")
    check_count(len(boxes), len(meshes))
    return Region(tuple(map(_box, boxes)), tuple(map(_mesh, meshes)))


def _read(path: Path) -> Any:
    try:
        if path.exists() and not path.is_file():
            raise Fault(f'The region "{path}" is no file: give a JSON file.')
        if path.stat().st_size > LARGEST_FILE:
            raise Fault(f'The region "{path}" is larger than {LARGEST_FILE >> 20} MB: give a smaller one.')
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise Fault(f'The region "{path}" cannot be read ({error.strerror}): give a JSON file.') from error
    except (ValueError, RecursionError) as error:
        raise Fault(f'The region "{path}" is no JSON ({error}): give a JSON file.') from error


def _box(said: dict[str, Any]) -> tuple[float, ...]:
    if set(said) == {"matrix"}:
        matrix = _numbers(said["matrix"], "matrix", (4, 4))
        if not np.allclose(matrix[3], [0, 0, 0, 1]):
            raise Fault("The last row of the region's matrix is not 0, 0, 0, 1: correct it.")
    elif {"center", "size"} <= set(said) <= {"center", "size", "rotation"}:
        turn = _turn(_numbers(said.get("rotation", [1, 0, 0, 0]), "rotation", (4,)))
        matrix = np.eye(4)
        # A negative size is none, as the engine has it.
        matrix[:3, :3] = turn * (np.maximum(_numbers(said["size"], "size", (3,)), 0) / 2)
        matrix[:3, 3] = _numbers(said["center"], "center", (3,))
    else:
        raise Fault("A box has center, size and perhaps rotation, or a matrix: correct the region.")
    if (np.linalg.norm(matrix[:3, :3], axis=0) < 1e-6).any() or abs(np.linalg.det(matrix)) < 1e-18:
        raise Fault("The box of the region is scaled to nothing: give it a size on every axis.")
    return tuple(map(float, matrix.ravel()))


def _turn(quaternion: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) of w, x, y, z."""
    norm = np.linalg.norm(quaternion)
    if norm < 1e-9:
        raise Fault("The rotation of the region's box is 0: give a quaternion w, x, y, z.")
    w, x, y, z = quaternion / norm
    across = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + 2 * w * across + 2 * across @ across


def _mesh(said: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    if set(said) != {"vertices", "faces"}:
        raise Fault("A mesh of a region has vertices and faces: correct the region.")
    vertices, faces = (_numbers(said[key], key, (-1, 3)) for key in ("vertices", "faces"))
    if not len(faces) or faces.min() < 0 or faces.max() >= len(vertices) or (faces % 1).any():
        raise Fault("The mesh of the region has no faces, or faces without vertices: use another mesh.")
    return vertices.astype(np.float32), faces.astype(np.int32)


def _numbers(said: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        numbers = np.asarray(said, np.float64)
    except (TypeError, ValueError, OverflowError):
        numbers = np.empty(0)
    fits = len(shape) == numbers.ndim and all(
        want in (-1, have) for want, have in zip(shape, numbers.shape, strict=True)
    )
    if not fits or not np.isfinite(numbers).all():
        asked = " × ".join("any" if length < 0 else str(length) for length in shape)
        raise Fault(f"{name} of the region is not {asked} finite numbers: correct the region.")
    return numbers
