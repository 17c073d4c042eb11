"""A job's arrays become one collection: a mesh object and a Gaussian object in one frame (Z up, front -Y).

The one place where numpy meets datablocks. Returns names or datablocks to its caller, keeps neither.
V vertices · F faces · N splats.
"""

from collections.abc import Mapping

import bpy
import numpy as np

from ..splats.values import Splats
from .asset import Arrays, Asset
from .materials import COLOR_ATTRIBUTE, vertex_color_material
from .splat_object import is_gaussian, splat_object

INT_MAX = 2**31 - 1  # custom properties hold no larger integers


def add_asset(asset: Asset, scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer) -> bpy.types.Collection:
    """Adds the asset at the 3D cursor, selected, the mesh active. If anything fails, nothing stays behind."""
    name = _printable(asset.name)
    made: list[bpy.types.ID] = []
    try:
        collection = _kept(made, bpy.data.collections.new(name))
        if asset.mesh is not None:
            collection.objects.link(_mesh_object(name, asset.mesh, made))
        if asset.gaussian is not None:
            collection.objects.link(splat_object(f"{name} Gaussians", Splats.plain(asset.gaussian), made))
        for owner in (collection, *collection.objects):
            _store(owner, asset.properties)
        for item in collection.objects:
            item.location = scene.cursor.location
        show(collection, "mesh" if asset.mesh is not None else "gaussian")
        scene.collection.children.link(collection)
    except BaseException:
        bpy.data.batch_remove(made)
        raise
    _select(collection, view_layer)
    return collection


def show(collection: bpy.types.Collection, kind: str) -> None:
    """Shows "mesh", "gaussian" or "both" in viewports and renders.

    The two lie in the same place, and one drawn through the other is of no use, so a new result shows its
    mesh. What is not shown is not computed either.
    """
    for item in collection.objects:
        if item.type == "MESH":
            item.hide_viewport = item.hide_render = kind == ("mesh" if is_gaussian(item) else "gaussian")


def shown(collection: bpy.types.Collection) -> str:
    """What `show` was last told, or "" where somebody has hidden all of it."""
    visible = {
        is_gaussian(item) for item in collection.objects if item.type == "MESH" and not item.hide_viewport
    }
    return {(False,): "mesh", (True,): "gaussian", (False, True): "both"}.get(tuple(sorted(visible)), "")


def linear_from_srgb(encoded: np.ndarray) -> np.ndarray:
    """The sRGB transfer curve undone; clipped to [0, 1]."""
    encoded = np.clip(encoded, 0.0, 1.0)
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


# ---- objects ----------------------------------------------------------------------------------------


def _mesh_object(name: str, arrays: Arrays, made: list[bpy.types.ID]) -> bpy.types.Object:
    mesh = _kept(made, bpy.data.meshes.new(name))
    vertices, faces = arrays["vertices"], arrays["faces"]
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set("co", _flat(vertices))
    mesh.loops.add(3 * len(faces))
    mesh.loops.foreach_set("vertex_index", np.ascontiguousarray(faces, np.int32).ravel())
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, 3 * len(faces), 3, dtype=np.int32))
    mesh.validate()  # which makes the edges too, and drops faces that Blender could not bear
    mesh.update()
    mesh.shade_smooth()  # facets would be those of the extraction grid, not of the shape
    linear = linear_from_srgb(arrays["colors"])
    _set_colors(mesh, linear)
    mesh.materials.append(_kept(made, vertex_color_material(name, _mean(linear))))
    return _kept(made, bpy.data.objects.new(name, mesh))


def _set_colors(mesh: bpy.types.Mesh, linear: np.ndarray) -> None:
    """`linear` (V, 3). FLOAT_COLOR holds linear values; the byte kind would round them."""
    attribute = mesh.color_attributes.new(COLOR_ATTRIBUTE, "FLOAT_COLOR", "POINT")
    rgba = np.ones((len(linear), 4), np.float32)
    rgba[:, :3] = linear
    attribute.data.foreach_set("color", rgba.ravel())
    mesh.color_attributes.active_color = attribute
    mesh.color_attributes.render_color_index = mesh.color_attributes.find(COLOR_ATTRIBUTE)


# ---- the scene --------------------------------------------------------------------------------------


def _select(collection: bpy.types.Collection, view_layer: bpy.types.ViewLayer) -> None:
    view_layer.update()  # the view layer learns of the new objects only here
    active = view_layer.objects.active
    if active is not None and active.mode != "OBJECT":
        return  # somebody sculpts or edits: leave their selection and their tool alone
    for item in view_layer.objects:
        item.select_set(False, view_layer=view_layer)
    for item in collection.objects:
        item.select_set(True, view_layer=view_layer)
    view_layer.objects.active = collection.objects[0] if collection.objects else active


def _store(owner: bpy.types.ID, properties: Mapping[str, str | int]) -> None:
    for key, value in properties.items():
        owner[f"trellis_{key}"] = value if isinstance(value, str) or abs(value) <= INT_MAX else str(value)


def _kept(made: list[bpy.types.ID], block: bpy.types.ID) -> bpy.types.ID:
    made.append(block)
    return block


def _flat(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32).ravel()


def _mean(linear: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = linear.mean(axis=0) if len(linear) else (0.5, 0.5, 0.5)
    return float(red), float(green), float(blue)


def _printable(name: str) -> str:
    """File names may hold bytes that are no text; Blender's names may not."""
    return name.encode("utf-8", "replace").decode() or "TRELLIS"
