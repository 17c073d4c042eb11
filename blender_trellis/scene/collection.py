"""A job's arrays become one collection: a mesh object and a Gaussian object in one frame (Z up, front -Y).

The one place where numpy meets datablocks. Returns names or datablocks to its caller, keeps neither.
V vertices · F faces · N splats.
"""

from collections.abc import Iterator, Mapping

import bpy
import numpy as np
from mathutils import Matrix

from .asset import Arrays, Asset
from .find_asset import ASSET, PART, new_id, store_keys, store_size
from .latents import GUIDE, PICTURE, owners, store_latents, store_pictures, store_request
from .materials import COLOR_ATTRIBUTE, splat_material, vertex_color_material
from .placement import free_place, stand
from .splat_nodes import set_input, splat_nodes

SPLAT_MODIFIER = "Splats"
DC_TO_COLOR = 0.28209479177387814  # the constant spherical harmonic: color = 0.5 + DC_TO_COLOR * f_dc
INT_MAX = 2**31 - 1  # custom properties hold no larger integers


def add_asset(
    asset: Asset,
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    matrix: Matrix | None = None,
    height: float = 0.0,
) -> bpy.types.Collection:
    """Adds the asset, selected, the mesh active. If anything fails, nothing stays behind.

    `matrix` takes its unit cube into the world; without one it stands at the 3D cursor or beside what is
    there, `height` metres high (0: as it was made).
    """
    name = _printable(asset.name)
    made: list[bpy.types.ID] = []
    try:
        collection = _kept(made, bpy.data.collections.new(name))
        items = []
        if asset.mesh is not None:
            items.append(_mesh_object(name, asset.mesh, made))
        if asset.gaussian is not None:
            items.append(_gaussian_object(f"{name} Gaussians", asset.gaussian, made))
        for item in items:
            collection.objects.link(item)
        where = matrix if matrix is not None else free_place(asset, scene, view_layer, height)
        made.append(stand(collection, items, asset, where))
        collection[ASSET] = new_id()
        store_sources(collection, asset)
        show(collection, "mesh" if asset.mesh is not None else "gaussian")
        scene.collection.children.link(collection)
    except BaseException:
        bpy.data.batch_remove(made)
        raise
    _select(collection, view_layer)
    return collection


def store_sources(collection: bpy.types.Collection, asset: Asset) -> None:
    """Keeps with the collection and its objects what the asset came from, and what edits of it start from."""
    for owner in owners(collection):
        owner[ASSET] = collection[ASSET]
        _store(owner, asset.properties)
    if asset.latents is not None:
        store_latents(collection, asset.latents)
    if asset.request:
        store_request(collection, asset.request)
    if asset.pictures or asset.change is not None:
        store_pictures(collection, asset.pictures, PICTURE if asset.change is None else GUIDE)


def show(collection: bpy.types.Collection, kind: str) -> None:
    """Shows "mesh", "gaussian" or "both" in viewports and renders.

    The two lie in the same place, and one drawn through the other is of no use, so a new result shows its
    mesh. What is not shown stays as its bounding box, which can be seen, selected and moved along; renders
    leave it out. Splats that are not shown are not computed either.
    """
    for item in collection.objects:
        if item.type != "MESH":
            continue
        shown = kind != ("mesh" if is_gaussian(item) else "gaussian")
        item.display_type = "TEXTURED" if shown else "BOUNDS"
        item.hide_render = not shown
        if is_gaussian(item):
            item.modifiers[SPLAT_MODIFIER].show_viewport = shown


def is_gaussian(item: bpy.types.Object) -> bool:
    return SPLAT_MODIFIER in item.modifiers and "f_dc_0" in item.data.attributes


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
    store_keys(mesh, arrays, "vertices")
    mesh.validate()  # which makes the edges too, and drops faces that Blender could not bear
    mesh.update()
    store_size(mesh)
    mesh.shade_smooth()  # facets would be those of the extraction grid, not of the shape
    linear = linear_colors(arrays)
    _set_colors(mesh, linear)
    mesh.materials.append(_kept(made, vertex_color_material(name, _mean(linear))))
    item = _kept(made, bpy.data.objects.new(name, mesh))
    item[PART] = "mesh"
    return item


def _gaussian_object(name: str, arrays: Arrays, made: list[bpy.types.ID]) -> bpy.types.Object:
    """A mesh of loose vertices that carries the splats' attributes under the names that splat tools know."""
    points = _kept(made, bpy.data.meshes.new(name))
    position = arrays["position"]
    points.vertices.add(len(position))
    points.vertices.foreach_set("co", _flat(position))
    for attribute, column in gaussian_columns(arrays):
        points.attributes.new(attribute, "FLOAT", "POINT").data.foreach_set("value", _flat(column))
    linear = linear_colors(arrays)
    _set_colors(points, linear)
    store_keys(points, arrays, "position")
    store_size(points)
    points.update()
    item = _kept(made, bpy.data.objects.new(name, points))
    item[PART] = "gaussian"
    material = _kept(made, splat_material(name, _mean(linear)))
    points.materials.append(material)
    modifier = item.modifiers.new(SPLAT_MODIFIER, "NODES")
    modifier.node_group = splat_nodes()
    set_input(modifier, "Material", material)
    return item


def gaussian_columns(arrays: Arrays) -> Iterator[tuple[str, np.ndarray]]:
    """The splats' attributes (N,) under the names that splat tools know."""
    for prefix, key in (("f_dc", "f_dc"), ("opacity", "opacity"), ("scale", "scale"), ("rot", "rotation")):
        columns = arrays[key].reshape(len(arrays[key]), -1)
        for place in range(columns.shape[1]):
            yield prefix if key == "opacity" else f"{prefix}_{place}", columns[:, place]


def linear_colors(arrays: Arrays) -> np.ndarray:
    """The colours of vertices or splats in linear light, (V, 3)."""
    encoded = arrays["colors"] if "colors" in arrays else 0.5 + DC_TO_COLOR * arrays["f_dc"]
    return linear_from_srgb(encoded)


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
    shown = [item for item in collection.objects if item.type == "MESH"]
    view_layer.objects.active = shown[0] if shown else active


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
