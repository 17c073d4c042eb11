"""Regions of an asset in the scene: boxes (empties) and closed meshes, tied to it by its id.

All numbers are in the asset's own frame, the unit cube [-0.5, 0.5]³. A new box hangs on one of the asset's
objects, so that it follows when that is moved, turned or scaled. V vertices · F faces.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Vector

from ..faults import Fault
from ..scene.find_asset import (
    ASSET,
    REGION,
    asset_id,
    asset_matrix,
    asset_of_object,
    body,
    data_frame,
    members,
    objects_in,
    part,
)
from .region_mask import ClosedMesh, RegionShape, inverted, is_closed

HAIR = 1e-4  # of the unit cube
_SHOWN_AS = "trellis_region_shown_as"  # of a mesh: how it was displayed before it became a region


def is_region(item: bpy.types.Object | None) -> bool:
    """Whether the object is a region of some asset."""
    return item is not None and REGION in item


def asset_of(item: bpy.types.Object | None, scene: bpy.types.Scene) -> bpy.types.Collection | None:
    """The asset that an object belongs to, or whose region it is; None for all else."""
    if item is None:
        return None
    if not is_region(item):
        return asset_of_object(item)
    of_parent = asset_of_object(item.parent) if item.parent is not None else None
    if of_parent is not None:
        return of_parent
    found = (one for one in scene.collection.children_recursive if one.get(ASSET) == item[REGION])
    return next(found, None)


def regions_of(
    collection: bpy.types.Collection, view_layer: bpy.types.ViewLayer
) -> tuple[bpy.types.Object, ...]:
    """The asset's regions that can be seen: one that is hidden takes nothing, and one that hangs on an object
    of another asset, such as a copy, is none of this one's."""
    holders = {None, *members(collection), *collection.all_objects}
    return tuple(
        item
        for item in objects_in(view_layer)
        if item.get(REGION) == collection.get(ASSET)
        and item.visible_get(view_layer=view_layer)
        and (item.parent in holders or asset_of_object(item.parent) is None)
    )


def body_of(collection: bpy.types.Collection) -> bpy.types.Object:
    """The asset's `body`. Fault where it was removed."""
    found = body(collection)
    if found is None:
        raise Fault(
            f'Nothing of the asset "{collection.name}" is left in the scene: undo, or generate it again.'
        )
    return found


def add_box(collection: bpy.types.Collection, low: np.ndarray, high: np.ndarray) -> bpy.types.Object:
    """A box between two corners (3,) of the asset's frame. An empty: renders do not show it."""
    holder = body_of(collection)
    box = bpy.data.objects.new("Region", None)
    box.empty_display_type, box.empty_display_size = "CUBE", 1.0
    box.parent = holder
    box.matrix_parent_inverse = data_frame(holder.data)
    box.location = (low + high) / 2
    box.scale = np.maximum(high - low, 1e-6) / 2
    box[REGION] = asset_id(collection)
    _region_collection(collection).objects.link(box)
    return box


def use_as_region(item: bpy.types.Object, collection: bpy.types.Collection) -> None:
    """Makes a mesh object a region; it stays where it is, as wire, and renders leave it out.

    Fault where its surface is open or has no faces.
    """
    check_mesh(item.name, _mesh_of(item))
    item[_SHOWN_AS] = item.display_type
    item.display_type, item.hide_render = "WIRE", True
    item[REGION] = asset_id(collection)


def release(item: bpy.types.Object) -> None:
    """A mesh that was used as a region is an ordinary object again."""
    item.display_type, item.hide_render = item.get(_SHOWN_AS, "TEXTURED"), False
    for key in (REGION, _SHOWN_AS):
        if key in item:
            del item[key]


@dataclass(frozen=True)
class RegionSource:
    """A region's object as numbers: cheap to read, so that a drawing can see whether anything has changed.

    matrix (4, 4) from its own coordinates to the asset's frame; mesh in its own coordinates, None for a box.
    """

    name: str
    matrix: np.ndarray
    mesh: ClosedMesh | None

    @property
    def stamp(self) -> bytes:
        """Equal where the region is."""
        arrays = () if self.mesh is None else (self.mesh.vertices, self.mesh.faces)
        digest = hashlib.blake2b(self.matrix.tobytes())
        for array in arrays:
            digest.update(array.tobytes())
        return digest.digest()


def read_region(item: bpy.types.Object, collection: bpy.types.Collection) -> RegionSource:
    """The region of an object."""
    matrix = matrix_in(item, collection)
    if item.type == "MESH":
        return RegionSource(item.name, matrix, _mesh_of(item))
    return RegionSource(item.name, matrix * np.array([item.empty_display_size] * 3 + [1.0]), None)


def shape_of(sources: Iterable[RegionSource]) -> RegionShape:
    """Boxes and meshes in the asset's frame. Fault where a mesh is open, or a region is scaled to nothing."""
    boxes, meshes = [], []
    for source in sources:
        turn, place = source.matrix[:3, :3], source.matrix[:3, 3]
        if not np.isfinite(source.matrix).all() or abs(np.linalg.det(turn)) < 1e-18:
            raise Fault(f'The region "{source.name}" is scaled to nothing: give it a size on every axis.')
        if source.mesh is None:
            boxes.append(source.matrix)
        else:
            check_mesh(source.name, source.mesh)
            # In the precision that the backend gets them in, so that both find the same voxels.
            moved = (source.mesh.vertices @ turn.T + place).astype(np.float32).astype(np.float64)
            meshes.append(ClosedMesh(moved, source.mesh.faces))
    return RegionShape(tuple(boxes), tuple(meshes))


def check_mesh(name: str, mesh: ClosedMesh) -> None:
    """Fault that says why a mesh cannot be a region."""
    if not len(mesh.faces):
        raise Fault(f'"{name}" has no faces: use a closed mesh or a box as region.')
    if not np.isfinite(mesh.vertices).all():
        raise Fault(f'"{name}" has vertices that are not finite: use another mesh or a box as region.')
    if not is_closed(mesh):
        raise Fault(f'"{name}" is not closed: close its holes, or use a box as region.')


def matrix_in(item: bpy.types.Object, collection: bpy.types.Collection) -> np.ndarray:
    """The matrix (4, 4), in double precision, from an object's coordinates to the asset's frame."""
    holder = body_of(collection)
    if item.parent == holder and item.parent_type == "OBJECT" and not item.constraints:
        # Exact wherever the asset stands: nothing goes through the world's coordinates.
        frame = np.array(data_frame(holder.data), np.float64)
        own = np.array(item.matrix_parent_inverse, np.float64) @ np.array(item.matrix_basis, np.float64)
    else:
        frame, own = np.array(asset_matrix(collection), np.float64), np.array(item.matrix_world, np.float64)
    return inverted(frame) @ own


def world_length(way: np.ndarray, collection: bpy.types.Collection) -> float:
    """How long a way (3,) in the asset's frame is in the scene."""
    return (asset_matrix(collection).to_3x3() @ Vector(way)).length


def selected_bounds(
    collection: bpy.types.Collection, resolution: int, edited: bpy.types.Object | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner (3,) of the vertices that are selected in the object that was `edited` until
    now, where there is one and any are; else of all.

    Widened by half a voxel and a hair, so that it takes every voxel which one of the vertices lies in.
    """
    item = edited or part(collection, "mesh") or body_of(collection)
    inverse = inverted(np.array(data_frame(item.data), np.float64))
    vertices = item.data.vertices
    places = np.empty(3 * len(vertices), np.float32)
    vertices.foreach_get("co", places)
    points = places.reshape(-1, 3) @ inverse[:3, :3].T + inverse[:3, 3]
    selected = np.ones(len(vertices), bool)
    if edited is not None:
        vertices.foreach_get("select", selected)
    if selected.any():
        points = points[selected]
    reach = 0.5 / resolution + HAIR
    return points.min(axis=0) - reach, points.max(axis=0) + reach


def _mesh_of(item: bpy.types.Object) -> ClosedMesh:
    """The object's mesh as it is shown, modifiers applied."""
    mesh = item.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    mesh.calc_loop_triangles()
    vertices = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", vertices)
    faces = np.empty(3 * len(mesh.loop_triangles), np.int32)
    mesh.loop_triangles.foreach_get("vertices", faces)
    return ClosedMesh(vertices.reshape(-1, 3).astype(np.float64), faces.reshape(-1, 3))


def _region_collection(collection: bpy.types.Collection) -> bpy.types.Collection:
    """Where the asset's boxes lie: not among its own objects, which are shown, exported and replaced."""
    for child in collection.children:
        if REGION in child:
            return child
    made = bpy.data.collections.new(f"{collection.name} Regions")
    made[REGION] = asset_id(collection)
    collection.children.link(made)
    return made
