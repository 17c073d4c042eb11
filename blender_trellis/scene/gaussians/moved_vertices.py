"""Splats whose centres Blender's own tools moved, by Object › Apply or in edit mode, are moved whole.

Such tools know nothing of quaternions, scales and harmonics. So each mesh keeps where some of its vertices
were when its values were right. Where an affine map leads from there to where they are, the values follow it.
Few vertices, or those of a plane, tell of more than one: then it is that which Object › Apply took from the
object, where that leads there. For this the object keeps how it last stood.
"""

import bpy
import numpy as np

from ...app_handlers import hook, unhook
from .object import REFERENCE, is_gaussian, put_values, refer, references, splats_of

STOOD = "trellis_splats_stood"  # on the object: its own transform, as 16 numbers, when it was last looked at
EXACT = 1e-4  # of the object's size: how far from an affine map rounding may lead
SAME = 1e-6  # how much of a change of the map is none


def begin() -> None:
    """On registration: looks after every change from now on."""
    hook(_look, _moments())


def end() -> None:
    """On unregistration."""
    unhook(_look, _moments())


def follow(item: bpy.types.Object, touched: bool = False) -> bool:
    """Moves the values of an object of Gaussians after its vertices. Returns whether they had to be moved.

    Where only some vertices were moved, values stay as they are. touched: whether the mesh was just changed,
    be it that no vertex moved, as none does that is the centre of a turn.
    """
    mesh = item.data
    noted = np.reshape(list(mesh.get(REFERENCE, ())), (-1, 3))
    numbers, now = references(mesh)
    if np.array_equal(noted, now) and not (touched and _is_vague(now)):
        return False
    known = numbers < len(noted)
    matrix = _affine(noted[numbers[known]], now[known], _applied(item)) if known.any() else None
    refer(mesh)
    if matrix is None or np.allclose(matrix[:3, :3], np.eye(3), atol=SAME):
        return False
    put_values(mesh, splats_of(item).moved(matrix))
    return True


def _applied(item: bpy.types.Object) -> np.ndarray | None:
    """(4, 4), what the object's own transform has lost since it was last looked at; None where it was not."""
    stood = item.get(STOOD)
    if stood is None:
        return None
    return np.array(item.matrix_basis.inverted_safe()) @ np.reshape(list(stood), (4, 4))


def _note_stand(item: bpy.types.Object) -> None:
    if _is_vague(references(item.data)[1]):
        stands = [value for row in item.matrix_basis for value in row]
        if list(item.get(STOOD, ())) != stands:
            item[STOOD] = stands
    elif STOOD in item:
        del item[STOOD]


def _is_vague(places: np.ndarray) -> bool:
    """Whether several affine maps take places (K, 3) to where one takes them."""
    if len(places) < 5 or not np.isfinite(places).all():
        return True
    spreads = np.linalg.svd(places - places.mean(axis=0), compute_uv=False)
    return bool(spreads[2] <= max(1e-6 * spreads[0], _rounding(places) * len(places) ** 0.5))


def _rounding(*places: np.ndarray) -> float:
    """What differences of such coordinates may be off by: they are float32."""
    return 4 * float(np.finfo(np.float32).eps) * max(np.abs(one).max(initial=0.0) for one in places)


def _affine(before: np.ndarray, now: np.ndarray, likely: np.ndarray | None) -> np.ndarray | None:
    """(4, 4), what takes (K, 3) to (K, 3); None where nothing does, or all were only shifted. Where several
    maps do, only `likely` counts.
    """
    size, rounding = np.ptp(now, axis=0).max(), _rounding(before, now)
    if _is_vague(before):
        size = np.abs(_rows(now)).max()
    else:
        middles = before.mean(axis=0, dtype=float), now.mean(axis=0, dtype=float)
        around = before - middles[0], now - middles[1]
        if np.abs(around[0] - around[1]).max() <= rounding:
            return None
        likely = np.eye(4)
        likely[:3, :3] = np.linalg.lstsq(*around, rcond=None)[0].T
        likely[:3, 3] = middles[1] - likely[:3, :3] @ middles[0]
    if likely is None or not np.isfinite(likely).all():
        return None
    sizes = np.linalg.svd(likely[:3, :3], compute_uv=False)
    if sizes.prod() <= 1e-12 * sizes[0] ** 3:
        return None
    away = np.abs(_rows(before) @ likely.T[:, :3] - now).max()
    return likely if away <= max(EXACT * size, rounding) else None


def _rows(places: np.ndarray) -> np.ndarray:
    return np.concatenate([places, np.ones((len(places), 1))], axis=1)


def _moments() -> tuple[list, ...]:
    """A step of undo may hold moved vertices whose values did not follow yet."""
    handlers = bpy.app.handlers
    return handlers.depsgraph_update_post, handlers.undo_post, handlers.redo_post


@bpy.app.handlers.persistent
def _look(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph | None = None) -> None:
    if depsgraph is None:
        changed = set(scene.objects)
    else:
        updates = (one for one in depsgraph.updates if one.is_updated_geometry or one.is_updated_transform)
        changed = {one.id.original for one in updates}
    for item in changed:
        if isinstance(item, bpy.types.Object) and item.mode == "OBJECT" and is_gaussian(item):
            if follow(item, touched=item.data in changed):
                item.data.update()
            _note_stand(item)
