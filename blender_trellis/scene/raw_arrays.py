"""An asset's raw mesh and Gaussians as arrays in its own frame, as the backend sent them."""

from dataclasses import fields

import bpy
import numpy as np

from ..srgb import srgb_from_linear
from .find_asset import data_frame, part
from .gaussians.object import splats_of
from .materials import COLOR_ATTRIBUTE


def mesh_arrays(mesh: bpy.types.Mesh) -> dict[str, np.ndarray]:
    """vertices f4 (V, 3), faces i4 (F, 3) and colors f4 (V, 3) sRGB, with what was done to them by hand."""
    places = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", places)
    back = np.array(data_frame(mesh).inverted_safe())
    mesh.calc_loop_triangles()
    faces = np.empty(3 * len(mesh.loop_triangles), np.int32)
    mesh.loop_triangles.foreach_get("vertices", faces)
    vertices = places.reshape(-1, 3) @ back[:3, :3].T + back[:3, 3]
    return {
        "vertices": vertices.astype(np.float32),
        "faces": faces.reshape(-1, 3),
        "colors": _colors(mesh),
    }


def texture_arrays(collection: bpy.types.Collection) -> dict[str, np.ndarray]:
    """The asset's finished mesh with its texture as an edit's request holds them; empty where it has none."""
    item = part(collection, "finished")
    image = _base_color(item) if item is not None else None
    if item is None or image is None or item.data.uv_layers.active is None:
        return {}
    arrays = mesh_arrays(item.data)
    corners = np.empty(3 * len(item.data.loop_triangles), np.int32)
    item.data.loop_triangles.foreach_get("loops", corners)
    uv = np.empty(2 * len(item.data.loops), np.float32)
    item.data.uv_layers.active.uv.foreach_get("vector", uv)
    pixels = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(pixels)
    rgba = pixels.reshape(image.size[1], image.size[0], -1)[::-1]
    return {
        "finished_vertices": arrays["vertices"],
        "finished_faces": arrays["faces"],
        "finished_uv": uv.reshape(-1, 2)[corners].reshape(-1, 3, 2),
        "finished_texture": np.rint(rgba[..., :3].clip(0, 1) * 255).astype(np.uint8),
    }


def _base_color(item: bpy.types.Object) -> bpy.types.Image | None:
    """The square image that the first material shows, None where there is none."""
    material = item.data.materials[0] if item.data.materials else None
    nodes = material.node_tree.nodes if material is not None and material.node_tree is not None else ()
    images = [node.image for node in nodes if node.type == "TEX_IMAGE" and node.image is not None]
    return next((one for one in images if one.size[0] == one.size[1] > 0 and one.channels >= 3), None)


def gaussian_arrays(item: bpy.types.Object) -> dict[str, np.ndarray]:
    """position, f_dc, opacity, scale and rotation as results hold them."""
    splats = splats_of(item).moved(np.array(data_frame(item.data).inverted_safe()))
    named = {field.name: getattr(splats, field.name) for field in fields(splats)}
    del named["f_rest"]
    return {name: np.ascontiguousarray(values, np.float32) for name, values in named.items()}


def _colors(mesh: bpy.types.Mesh) -> np.ndarray:
    attribute = mesh.attributes.get(COLOR_ATTRIBUTE)
    if attribute is None or attribute.domain != "POINT" or attribute.data_type != "FLOAT_COLOR":
        return np.full((len(mesh.vertices), 3), 0.8, np.float32)
    linear = np.empty(4 * len(mesh.vertices), np.float32)
    attribute.data.foreach_get("color", linear)
    return srgb_from_linear(linear.reshape(-1, 4)[:, :3]).astype(np.float32)
