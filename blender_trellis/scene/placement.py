"""Where a new asset stands: on the floor, its foot at the 3D cursor, and beside what is there already."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Matrix, Vector

from .asset import Arrays, Asset
from .find_asset import ASSET, PART, asset_of_object, members, objects_in, world_matrix
from .standing import AT_CURSOR, QUARTERS, Standing

GAP = 0.1  # between neighbours, in parts of the new asset's width
SURROUNDINGS = (
    8.0  # what is so many times as wide and as deep surrounds an asset, as a room or a landscape does
)
SOLID = {"MESH", "CURVE", "CURVES", "SURFACE", "META", "FONT", "POINTCLOUD", "VOLUME", "ARMATURE", "LATTICE"}
HAZE = -3.0  # splats of lower opacity (logit) do not count as its outline


@dataclass(frozen=True)
class Bounds:
    """An axis-aligned box: two corners (3,)."""

    low: np.ndarray
    high: np.ndarray

    def overlaps(self, other: "Bounds") -> bool:
        """Whether they share more than a face."""
        slack = 1e-4 * np.minimum(self.high - self.low, other.high - other.low)
        return bool((np.minimum(self.high, other.high) - np.maximum(self.low, other.low) > slack).all())

    def surrounds(self, other: "Bounds") -> bool:
        """Whether it is so large that the other stands in or on it and not beside it."""
        wide = (self.high - self.low)[:2] > SURROUNDINGS * (other.high - other.low)[:2]
        return bool(wide.all() and (self.low <= other.high).all() and (self.high >= other.low).all())


def own_bounds(asset: Asset) -> Bounds:
    """The asset's box in its own frame."""
    places = _outline(asset.mesh, asset.gaussian)
    return Bounds(places.min(axis=0), places.max(axis=0))


def _outline(mesh: Arrays | None, gaussian: Arrays | None) -> np.ndarray:
    if mesh is not None:
        return np.asarray(mesh["vertices"], np.float64)
    if gaussian is None:
        return np.array([[-0.5] * 3, [0.5] * 3])
    clear = gaussian["opacity"].ravel() > HAZE
    return np.asarray(gaussian["position"][clear] if clear.any() else gaussian["position"], np.float64)


def free_place(
    asset: Asset, scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, standing: Standing = AT_CURSOR
) -> Matrix:
    """The world matrix of the asset's unit cube: its foot where it is to stand, or as far from there along +X
    as it takes to stand clear of everything else."""
    return free_places([own_bounds(asset)], scene, view_layer, standing)[0]


def free_places(
    boxes: Sequence[Bounds], scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, standing: Standing
) -> list[Matrix]:
    """The same for several of these boxes (each in its own frame), side by side."""
    start = np.array(_start(scene, standing))
    turn = Matrix.Rotation(math.pi / 2 * QUARTERS[standing.facing], 4, "Z")
    taken = list(_taken(view_layer))
    places = []
    for box in boxes:
        size = box.high - box.low
        scale = standing.height / max(float(size[2]), 1e-6) if standing.height > 0 else 1.0
        half = scale / 2 * (size[[1, 0, 2]] if QUARTERS[standing.facing] % 2 else size)
        middle = start + (0.0, 0.0, half[2])
        shift = np.array([_clear_shift(Bounds(middle - half, middle + half), taken), 0.0, 0.0])
        taken.append(Bounds(middle - half + shift, middle + half + shift))
        at = Matrix.Translation(Vector(start + shift)) @ turn @ Matrix.Scale(scale, 4)
        places.append(at @ Matrix.Translation(-Vector(foot_of(box))))
    return places


def _start(scene: bpy.types.Scene, standing: Standing) -> tuple[float, float, float]:
    """Where the foot goes if nothing is in the way."""
    x, y, z = (0.0, 0.0, 0.0) if standing.where == "origin" else scene.cursor.location
    if standing.where == "beside":
        assets = [one for one in scene.collection.children_recursive if ASSET in one]
        roots = [item for one in assets for item in one.objects if item.get(PART) == "root"]
        if roots:  # what an edit has kept of the former has none
            x, y, z = world_matrix(roots[-1]).translation
    x, y, z = standing.foot or (x, y, z)
    return x, y, 0.0 if standing.on_ground else z


def free_shifts(
    wanted: Bounds, view_layer: bpy.types.ViewLayer, count: int, coming: Iterable[Bounds] = ()
) -> list[float]:
    """How far along +X so many boxes like this one go, to stand clear of everything, of what is coming there
    and of each other."""
    taken = [*_taken(view_layer), *coming]
    shifts: list[float] = []
    for _ in range(count):
        shifts.append(_clear_shift(wanted, taken))
        step = np.array([shifts[-1], 0.0, 0.0])
        taken.append(Bounds(wanted.low + step, wanted.high + step))
    return shifts


def cube_bounds(matrix: Matrix) -> Bounds:
    """The box around an asset's unit cube in the world."""
    corners = np.array([matrix @ Vector(corner) for corner in itertools.product((-0.5, 0.5), repeat=3)])
    return Bounds(corners.min(axis=0), corners.max(axis=0))


def foot_of(box: Bounds) -> tuple[float, float, float]:
    """The middle of a box's lower side."""
    x, y, _ = (box.low + box.high) / 2
    return float(x), float(y), float(box.low[2])


def _clear_shift(wanted: Bounds, taken: list[Bounds]) -> float:
    """How far along +X the box is free of the others."""
    taken = [one for one in taken if not one.surrounds(wanted)]
    gap = GAP * float(wanted.high[0] - wanted.low[0])
    shift = 0.0
    while True:
        step = np.array([shift, 0.0, 0.0])
        here = Bounds(wanted.low + step, wanted.high + step)
        wider = Bounds(here.low - (gap / 2, 0.0, 0.0), here.high + (gap / 2, 0.0, 0.0))
        blocking = [one for one in taken if wider.overlaps(one)]
        if not blocking:
            return shift
        shift = max(float(one.high[0]) for one in blocking) + gap - float(wanted.low[0])


def _taken(view_layer: bpy.types.ViewLayer) -> Iterable[Bounds]:
    """The boxes of all that has a body, hidden or not, for it may be shown again; but not of what is left,
    hidden, of an asset that was deleted."""
    view_layer.update()
    for item in objects_in(view_layer):
        if PART in item and item.hide_viewport and _is_left_over(item):
            continue
        if item.type in SOLID:
            yield world_bounds([item])
        elif item.type == "EMPTY" and item.instance_collection is not None:
            inside = [one for one in item.instance_collection.all_objects if one.type in SOLID]
            offset = Matrix.Translation(-item.instance_collection.instance_offset)
            if inside:
                yield world_bounds(inside, world_matrix(item) @ offset)


def _is_left_over(item: bpy.types.Object) -> bool:
    """Whether nothing that can be seen is left of the asset that a hidden object belongs to."""
    collection = asset_of_object(item)
    others = members(collection) if collection is not None else (item,)
    return all(one.hide_viewport for one in others)  # its Empty is gone too


def world_bounds(items: Iterable[bpy.types.Object], matrix: Matrix | None = None) -> Bounds:
    """The box around objects in the world, modifiers and all; under `matrix` where they are instances."""
    outer = matrix if matrix is not None else Matrix.Identity(4)
    corners = np.array(
        [outer @ world_matrix(item) @ Vector(corner) for item in items for corner in item.bound_box]
    )
    return Bounds(corners.min(axis=0), corners.max(axis=0))


def stand(
    collection: bpy.types.Collection, items: Iterable[bpy.types.Object], asset: Asset, matrix: Matrix
) -> bpy.types.Object:
    """Puts the asset's unit cube at `matrix` by an Empty at its foot, on which `items` hang; gives the Empty.

    What an Empty cannot hold, a shear and the way from the foot to the middle, goes into the objects' inverse
    parent matrices: their own transforms stay empty, and clearing those does no harm.
    """
    root = bpy.data.objects.new(f"{collection.name} Root", None)
    root.empty_display_type = "PLAIN_AXES"
    root[PART] = "root"
    box = own_bounds(asset)
    location, rotation, scale = (matrix @ Matrix.Translation(foot_of(box))).decompose()
    root.location, root.scale = location, scale
    root.rotation_euler = rotation.to_euler()
    root.empty_display_size = 0.25 * max(float((box.high - box.low).max()), 1e-3)
    hang_on = Matrix.LocRotScale(location, root.rotation_euler, scale).inverted_safe() @ matrix
    collection.objects.link(root)
    for item in items:
        item.parent = root
        item.matrix_parent_inverse = hang_on
    return root
