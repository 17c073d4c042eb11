"""A job's arrays become one collection: a mesh object and a Gaussian object in one frame (Z up, front -Y).

The one place where numpy meets datablocks. Returns names or datablocks to its caller, keeps neither.
V vertices · F faces · N splats.
"""

import math
from collections.abc import Mapping

import bpy
import numpy as np
from mathutils import Matrix

from ..splats.values import Splats
from ..srgb import linear_from_srgb
from .asset import Arrays, Asset
from .find_asset import ASSET, PART, new_id, part, store_keys, store_size
from .gaussians.object import is_gaussian, splat_object
from .latents import GUIDE, PICTURE, owners, store_latents, store_pictures, store_request
from .materials import COLOR_ATTRIBUTE, texture_material, vertex_color_material
from .placement import free_place, stand
from .standing import AT_CURSOR, Standing

SHARP_ANGLE = math.radians(50)  # edges that are bent more stay sharp
FINISH_REPORT = "trellis_finish_report"  # of a finished mesh: what was done, a line for each step
INT_MAX = 2**31 - 1  # custom properties hold no larger integers


def add_asset(
    asset: Asset,
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    matrix: Matrix | None = None,
    standing: Standing = AT_CURSOR,
) -> bpy.types.Collection:
    """Adds the asset, selected, the mesh active. If anything fails, nothing stays behind.

    `matrix` takes its unit cube into the world; without one it stands as `standing` says.
    """
    name = _printable(asset.name)
    made: list[bpy.types.ID] = []
    try:
        collection = _kept(made, bpy.data.collections.new(name))
        items = []
        if asset.mesh is not None:
            raw = name if asset.finished is None else f"{name} Raw"
            items.append(_mesh_object(raw, asset.mesh, made))
        if asset.finished is not None:
            items.append(finished_object(name, asset, made))
        if asset.gaussian is not None:
            items.append(_gaussian_object(f"{name} Gaussians", asset.gaussian, made))
        for item in items:
            collection.objects.link(item)
        where = matrix if matrix is not None else free_place(asset, scene, view_layer, standing)
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
    mesh. What is not shown is not computed either. The raw mesh of a finished one is never shown.
    """
    has_finished = part(collection, "finished") is not None
    for item in collection.objects:
        if item.type == "MESH":
            other = "mesh" if is_gaussian(item) else "gaussian"
            is_raw = has_finished and item.get(PART) == "mesh"
            item.hide_viewport = item.hide_render = is_raw or kind == other


def shown(collection: bpy.types.Collection) -> str:
    """What `show` was last told, or "" where somebody has hidden all of it."""
    visible = {
        is_gaussian(item) for item in collection.objects if item.type == "MESH" and not item.hide_viewport
    }
    return {(False,): "mesh", (True,): "gaussian", (False, True): "both"}.get(tuple(sorted(visible)), "")


# ---- objects ----------------------------------------------------------------------------------------


def finished_object(name: str, asset: Asset, made: list[bpy.types.ID]) -> bpy.types.Object:
    """The mesh made ready to be used, in no collection yet; what is made for it is appended to `made`."""
    arrays = asset.finished
    assert arrays is not None, "the asset was finished"
    mesh = _kept(made, _triangles(name, arrays))
    mesh.validate()
    mesh.update()
    mesh.shade_smooth()
    mesh.set_sharp_from_angle(angle=SHARP_ANGLE)
    linear = linear_colors(arrays)
    _set_colors(mesh, linear)
    if "texture" in arrays:
        image = _image(name, arrays["texture"], made)
        material = texture_material(name, _mean(linear), image, *asset.surface)
    else:
        material = vertex_color_material(name, _mean(linear))
    mesh.materials.append(_kept(made, material))
    mesh[FINISH_REPORT] = asset.finish_report
    item = _kept(made, bpy.data.objects.new(name, mesh))
    item[PART] = "finished"
    return item


def _image(name: str, pixels: np.ndarray, made: list[bpy.types.ID]) -> bpy.types.Image:
    """The texture as an image that is packed into the file; pixels u1 (S, S, 3), the first row on top."""
    size = len(pixels)
    image = _kept(made, bpy.data.images.new(name, size, size))
    rgba = np.ones((size, size, 4), np.float32)
    rgba[:, :, :3] = pixels[::-1] / np.float32(255)
    image.pixels.foreach_set(rgba.ravel())
    image.pack()
    return image


def _mesh_object(name: str, arrays: Arrays, made: list[bpy.types.ID]) -> bpy.types.Object:
    mesh = _kept(made, _triangles(name, arrays))
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


def _triangles(name: str, arrays: Arrays) -> bpy.types.Mesh:
    """A mesh of vertices, faces and, where there are any, texture coordinates."""
    mesh = bpy.data.meshes.new(name)
    vertices, faces = arrays["vertices"], arrays["faces"]
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set("co", _flat(vertices))
    mesh.loops.add(3 * len(faces))
    mesh.loops.foreach_set("vertex_index", np.ascontiguousarray(faces, np.int32).ravel())
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, 3 * len(faces), 3, dtype=np.int32))
    if "uv" in arrays:
        mesh.uv_layers.new(name="UVMap").uv.foreach_set("vector", _flat(arrays["uv"]))
    return mesh


def _gaussian_object(name: str, arrays: Arrays, made: list[bpy.types.ID]) -> bpy.types.Object:
    item = splat_object(name, Splats.plain(arrays), made)
    store_keys(item.data, arrays, "position")
    store_size(item.data)
    item[PART] = "gaussian"
    return item


def linear_colors(arrays: Arrays) -> np.ndarray:
    """The colours of vertices in linear light, (V, 3)."""
    return linear_from_srgb(arrays["colors"])


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
    shown = [item for item in collection.objects if item.type == "MESH" and not item.hide_viewport]
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
