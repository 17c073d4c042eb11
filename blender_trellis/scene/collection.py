"""A job's arrays become one collection: a mesh object and a Gaussian object in one frame (Z up, front -Y).

The one place where numpy meets datablocks. Returns names or datablocks to its caller, keeps neither.
V vertices · F faces · N splats.
"""

import math
from collections.abc import Iterator, Mapping

import bpy
import numpy as np
from mathutils import Matrix

from ..png import png_of
from ..splats.values import Splats
from ..srgb import linear_from_srgb
from .asset import Arrays, Asset
from .find_asset import (
    ASSET,
    PART,
    asset_of_object,
    companions,
    gather,
    members,
    new_id,
    objects_in,
    store_keys,
    store_size,
)
from .gaussians.object import is_gaussian, splat_steps
from .latents import GUIDE, PICTURE, owners, store_latents, store_pictures, store_request
from .materials import COLOR_ATTRIBUTE, packed_image, texture_material, vertex_color_material
from .placement import free_place, stand
from .standing import AT_CURSOR, Standing

HALF = "trellis_half_made"  # on datablocks until they are put into a scene
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
    steps = asset_steps(asset)
    collection = next(one for one in steps if one is not None)
    return put_asset(collection, asset, scene, view_layer, matrix, standing)


def asset_steps(asset: Asset) -> Iterator[bpy.types.Collection | None]:
    """Makes what the asset consists of, in steps: None after each, at last the collection, which is in no
    scene. Closed before it ends, or where anything fails, it takes away what it has made."""
    name = _printable(asset.name)
    made: list[bpy.types.ID] = []
    try:
        collection = _kept(made, bpy.data.collections.new(name))
        if asset.mesh is not None:
            raw = name if asset.finished is None else f"{name} Raw"
            for _ in _mesh_steps(raw, asset.mesh, made):
                mark_half_made(made)
                yield None
        if asset.finished is not None:
            for _ in finished_steps(name, asset, made):
                mark_half_made(made)
                yield None
        if asset.gaussian is not None:
            for _ in _gaussian_steps(f"{name} Gaussians", asset.gaussian, made):
                mark_half_made(made)
                yield None
        for item in [one for one in made if isinstance(one, bpy.types.Object)]:
            collection.objects.link(item)
        unmark_half_made(made)
    except BaseException:
        remove_made(made)
        raise
    yield collection


def put_asset(
    collection: bpy.types.Collection,
    asset: Asset,
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    matrix: Matrix | None = None,
    standing: Standing = AT_CURSOR,
) -> bpy.types.Collection:
    """Puts into the scene what `asset_steps` gave, as `add_asset` says."""
    items = list(collection.objects)
    try:
        where = matrix if matrix is not None else free_place(asset, scene, view_layer, standing)
        stand(collection, items, asset, where)
        collection[ASSET] = new_id()
        store_sources(collection, asset)
        show(collection, "mesh" if asset.mesh is not None else "gaussian")
        scene.collection.children.link(collection)
    except BaseException:
        parts = list(collection.objects)
        data = [item.data for item in parts if item.data is not None]
        materials = [material for one in data for material in one.materials]
        bpy.data.batch_remove([*parts, *data, *materials, collection])
        raise
    _select(collection, view_layer)
    return collection


def remove_half_made() -> None:
    """Takes away what an undo brought back of an asset that was being made."""
    kinds = (bpy.data.collections, bpy.data.objects, bpy.data.meshes, bpy.data.materials, bpy.data.images)
    bpy.data.batch_remove([block for kind in kinds for block in kind if HALF in block])


def remove_made(made: list[bpy.types.ID]) -> None:
    """Takes away what is still there: somebody may have purged what no scene uses."""
    bpy.data.batch_remove([block for block in made if _is_there(block)])


def unmark_half_made(made: list[bpy.types.ID]) -> None:
    """They are whole."""
    for block in [one for one in made if HALF in one]:
        del block[HALF]


def _is_there(block: bpy.types.ID) -> bool:
    try:
        return bool(block.name)
    except ReferenceError:
        return False


def mark_half_made(made: list[bpy.types.ID]) -> None:
    """So that `remove_half_made` knows them."""
    for block in made:
        if HALF not in block:
            block[HALF] = True


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
    """Shows "mesh", "gaussian" or "both" of an asset in viewports and renders."""
    show_objects(drawn(collection), kind)


def show_objects(items: list[bpy.types.Object], kind: str) -> None:
    """The same of the objects of one asset, wherever they lie.

    The two lie in the same place, and one drawn through the other is of no use, so a new result shows its
    mesh. What is not shown is not computed either. The raw mesh of a finished one is never shown. What was
    hidden comes to where the asset stands now.
    """
    gather(items)
    has_finished = any(item.get(PART) == "finished" for item in items)
    for item in items:
        if item.type == "MESH":
            other = "mesh" if is_gaussian(item) else "gaussian"
            is_raw = has_finished and item.get(PART) == "mesh"
            item.hide_viewport = item.hide_render = is_raw or kind == other
    gather(items)


def shown(collection: bpy.types.Collection) -> str:
    """What `show` was last told, or "" where somebody has hidden all of it."""
    return shown_objects(drawn(collection))


def shown_objects(items: list[bpy.types.Object]) -> str:
    """The same of `show_objects`."""
    visible = {is_gaussian(item) for item in items if item.type == "MESH" and not item.hide_viewport}
    return {(False,): "mesh", (True,): "gaussian", (False, True): "both"}.get(tuple(sorted(visible)), "")


def drawn(collection: bpy.types.Collection) -> list[bpy.types.Object]:
    """Of the collection's objects those of an asset, also where they were moved to another collection, and
    Gaussians; others are the artist's own."""
    splats = [item for item in collection.objects if is_gaussian(item)]
    return list(dict.fromkeys([*members(collection), *splats]))


def shown_with(item: bpy.types.Object | None) -> list[bpy.types.Object]:
    """What is shown and hidden together with an object: all that its asset's collection draws, or its
    companions elsewhere, or splats alone; nothing of other assets that lie in the same collection."""
    if item is None:
        return []
    asset = asset_of_object(item)
    if asset is not None and item.name in asset.objects:
        return drawn(asset)
    return companions(item) or ([item] if is_gaussian(item) else [])


# ---- objects ----------------------------------------------------------------------------------------


def finished_object(name: str, asset: Asset, made: list[bpy.types.ID]) -> bpy.types.Object:
    """The mesh made ready to be used, in no collection yet; what is made for it is appended to `made`."""
    for _ in finished_steps(name, asset, made):
        pass
    return next(one for one in reversed(made) if isinstance(one, bpy.types.Object))


def finished_steps(name: str, asset: Asset, made: list[bpy.types.ID]) -> Iterator[None]:
    """The same in steps."""
    arrays = asset.finished
    assert arrays is not None, "the asset was finished"
    mesh = _kept(made, bpy.data.meshes.new(name))
    yield from _fill_steps(mesh, {**arrays, "keys": np.arange(len(arrays["vertices"]))})
    mesh.shade_smooth()
    mesh.set_sharp_from_angle(angle=SHARP_ANGLE)
    yield
    linear = linear_colors(arrays)
    _set_colors(mesh, linear)
    if "texture" in arrays:
        image = _kept(made, packed_image(name, asset.texture or png_of(arrays["texture"])))
        material = texture_material(name, _mean(linear), image, *asset.surface)
    else:
        material = vertex_color_material(name, _mean(linear))
    mesh.materials.append(_kept(made, material))
    mesh[FINISH_REPORT] = asset.finish_report
    item = _kept(made, bpy.data.objects.new(name, mesh))
    item[PART] = "finished"
    yield


def _mesh_steps(name: str, arrays: Arrays, made: list[bpy.types.ID]) -> Iterator[None]:
    mesh = _kept(made, bpy.data.meshes.new(name))
    yield from _fill_steps(mesh, arrays)
    store_size(mesh)
    mesh.shade_smooth()  # facets would be those of the extraction grid, not of the shape
    yield
    linear = linear_colors(arrays)
    _set_colors(mesh, linear)
    mesh.materials.append(_kept(made, vertex_color_material(name, _mean(linear))))
    item = _kept(made, bpy.data.objects.new(name, mesh))
    item[PART] = "mesh"
    yield


def _fill_steps(mesh: bpy.types.Mesh, arrays: Arrays) -> Iterator[None]:
    """Gives a new mesh vertices with their names, faces and, where there are any, texture coordinates."""
    vertices, faces = arrays["vertices"], arrays["faces"]
    mesh.vertices.add(len(vertices))
    mesh.loops.add(3 * len(faces))
    # As attributes, which is many times as fast as by mesh.vertices and mesh.loops.
    mesh.attributes["position"].data.foreach_set("vector", _flat(vertices))
    corners = np.ascontiguousarray(faces, np.int32).ravel()
    mesh.attributes[".corner_vert"].data.foreach_set("value", corners)
    yield
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, 3 * len(faces), 3, dtype=np.int32))
    if "uv" in arrays:
        mesh.uv_layers.new(name="UVMap").uv.foreach_set("vector", _flat(arrays["uv"]))
    if "keys" in arrays:
        store_keys(mesh, arrays, "vertices")
    yield
    mesh.validate()  # which makes the edges too, and drops faces that Blender could not bear
    mesh.update()
    yield


def _gaussian_steps(name: str, arrays: Arrays, made: list[bpy.types.ID]) -> Iterator[None]:
    yield from splat_steps(name, Splats.plain(arrays), made)
    item = next(one for one in reversed(made) if isinstance(one, bpy.types.Object))
    store_keys(item.data, arrays, "position")
    store_size(item.data)
    item[PART] = "gaussian"
    yield


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
    for item in objects_in(view_layer):
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
