"""Splats whose centres Blender's own tools moved, by Object › Apply or in edit mode, are moved whole.

Such tools know nothing of quaternions, scales and harmonics. So each mesh keeps where some of its vertices
were when its values were right. Where an affine map leads from there to where they are, the values follow it.
"""

import bpy
import numpy as np

from .object import REFERENCE, is_gaussian, put_values, refer, reference_rows, splats_of

EXACT = 1e-4  # of the object's size: how far from an affine map rounding may lead
SAME = 1e-6  # how much of a change of the map is none


def begin() -> None:
    """On registration: looks after every change from now on."""
    for handlers in _moments():
        handlers.append(_look)


def end() -> None:
    """On unregistration."""
    for handlers in _moments():
        handlers.remove(_look)


def follow(item: bpy.types.Object) -> bool:
    """Moves the values of an object of Gaussians after its vertices. Returns whether they had to be moved.

    Where only some vertices were moved, or others added or deleted, values stay as they are.
    """
    mesh = item.data
    before, now = list(mesh.get(REFERENCE, ())), reference_rows(mesh)
    if np.array_equal(before, now.ravel()):
        return False
    refer(mesh)
    matrix = _affine(np.reshape(before, (-1, 3)), now) if len(before) == now.size else None
    if matrix is None or np.allclose(matrix[:3, :3], np.eye(3), atol=SAME):
        return False
    put_values(mesh, splats_of(item).moved(matrix))
    return True


def _affine(before: np.ndarray, now: np.ndarray) -> np.ndarray | None:
    """(4, 4), what takes (K, 3) to (K, 3); None where nothing does, or more than one map does."""
    rows = np.concatenate([before, np.ones((len(before), 1))], axis=1)
    found, _, rank, _ = np.linalg.lstsq(rows, now, rcond=1e-6)
    if len(rows) < 5 or rank < 4 or np.abs(np.linalg.det(found[:3])) < 1e-12:
        return None
    if np.abs(rows @ found - now).max() > EXACT * np.ptp(now, axis=0).max():
        return None
    matrix = np.eye(4)
    matrix[:3] = found.T
    return matrix


def _moments() -> tuple[list, ...]:
    """A step of undo may hold moved vertices whose values did not follow yet."""
    handlers = bpy.app.handlers
    return handlers.depsgraph_update_post, handlers.undo_post, handlers.redo_post


@bpy.app.handlers.persistent
def _look(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph | None = None) -> None:
    if depsgraph is None:
        items = set(scene.objects)
    else:
        changed = {one.id.original for one in depsgraph.updates if one.is_updated_geometry}
        items = {item for item in changed if isinstance(item, bpy.types.Object)}
    for item in items:
        if item.mode == "OBJECT" and is_gaussian(item) and follow(item):
            item.data.update()
