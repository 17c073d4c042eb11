"""Edits of objects of Gaussians that keep what is seen: their values move along with their places."""

import math
from collections.abc import Iterable

import bpy
import numpy as np
from mathutils import Matrix

from ...faults import Fault
from ...splats.values import Splats, joined
from ..find_asset import add_selected
from .object import add_splats, keep_splats, splat_object, splats_of

# From the file's frame to Blender's, by what is up in the file.
FROM_FILE = {
    "NEGATIVE_Y": Matrix.Rotation(-math.pi / 2, 4, "X"),
    "Y": Matrix.Rotation(math.pi / 2, 4, "X"),
    "Z": Matrix.Identity(4),
}


def import_splats(name: str, splats: Splats, up: str, context: bpy.types.Context) -> bpy.types.Object:
    """A new object in the active collection, selected and active, turned so that up is up."""
    item = splat_object(name, splats, [])
    item.matrix_world = FROM_FILE[up]
    add_selected(item, context)
    return item


def splats_in_world(item: bpy.types.Object) -> Splats:
    """The object's splats where they stand in the scene, but for those whose values are no numbers."""
    return splats_of(item).sound().moved(np.array(item.matrix_world))


def crop(items: Iterable[bpy.types.Object], box: bpy.types.Object, inside: bool) -> int:
    """Deletes the splats with centres outside the box of another object, or inside. Returns how many.

    Raises Fault where an object would have none left; then nothing is changed.
    """
    kept = {item: _kept(item, box, inside) for item in items}
    for item, rows in kept.items():
        if not rows.any():
            raise Fault(f"{item.name} would have no splats left: delete the object instead.")
    for item, rows in kept.items():
        keep_splats(item, rows)
    return sum(int((~rows).sum()) for rows in kept.values())


def _kept(item: bpy.types.Object, box: bpy.types.Object, inside: bool) -> np.ndarray:
    """(N,) bool, which splats a crop leaves."""
    to_box = np.array(box.matrix_world.inverted_safe() @ item.matrix_world)
    places = splats_of(item, harmonics=False).position @ to_box[:3, :3].T + to_box[:3, 3]
    low, high = _box(box)
    within = ((places >= low) & (places <= high)).all(axis=1)
    return ~within if inside else within


def join(target: bpy.types.Object, others: Iterable[bpy.types.Object]) -> None:
    """Puts the splats of other objects into `target`, where they stand, and removes those objects. What else
    the target's mesh has of its own splats stays.
    """
    others = list(others)
    into = target.matrix_world.inverted_safe()
    parts = [splats_of(item).moved(np.array(into @ item.matrix_world)) for item in others]
    add_splats(target, joined(parts))
    for item in others:
        _adopt(target, item)
        bpy.data.objects.remove(item)


def _adopt(target: bpy.types.Object, item: bpy.types.Object) -> None:
    """Hangs what hangs on `item` on the target, where it stands; what the target hangs on, on nothing."""
    into = target.matrix_world.inverted_safe() @ item.matrix_world
    for child in item.children:
        world, inverse = child.matrix_world.copy(), into @ child.matrix_parent_inverse
        if child == target or target in child.children_recursive:
            child.parent, child.matrix_world = None, world
        else:
            child.parent, child.matrix_parent_inverse = target, inverse


def _box(item: bpy.types.Object) -> tuple[np.ndarray, np.ndarray]:
    """Its lower and upper corner in its own frame: an empty's as it is drawn."""
    if item.type == "EMPTY":
        half = np.full(3, item.empty_display_size)
        return -half, half
    corners = np.array(item.bound_box)
    return corners.min(axis=0), corners.max(axis=0)
