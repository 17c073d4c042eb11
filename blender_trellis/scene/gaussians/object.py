"""Splats as an object: a mesh of loose vertices with their values under the names that splat tools know.

So Blender's own tools select, delete and separate them; the modifier draws them.
"""

from collections.abc import Iterator
from itertools import takewhile

import bpy
import numpy as np

from ...splats import harmonics
from ...splats.harmonics import COUNTS
from ...splats.values import Splats, joined
from ...srgb import linear_from_srgb
from ..find_asset import FOREIGN, name_vertices, vertex_keys
from ..materials import COLOR_ATTRIBUTE
from ..splice import splice_steps
from ..steps import at_once
from .material import splat_material
from .nodes import INPUTS, degree_of, get_input, set_input, splat_nodes, version_of

MODIFIER = "Splats"
# On the mesh: where some vertices were when its values were right. Its attribute of that name numbers them,
# from 1 on; those of former versions have none.
REFERENCE = "trellis_splats_from"
_REFERENCES, _FORMER_REFERENCES = 64, 12  # vertices
_ATTRIBUTES = {"f_dc": "f_dc_{}", "opacity": "opacity", "scale": "scale_{}", "rotation": "rot_{}"}


def is_gaussian(item: bpy.types.Object) -> bool:
    """Whether the object holds splats that this add-on draws."""
    if item.type != "MESH" or MODIFIER not in item.modifiers or "f_dc_0" not in item.data.attributes:
        return False
    modifier = item.modifiers[MODIFIER]
    return modifier.type == "NODES" and version_of(modifier.node_group) > 0


def is_instanced(item: bpy.types.Object, scene: bpy.types.Scene) -> bool:
    """Whether an object of the scene instances a collection that holds the item."""
    shown = {one.instance_collection for one in scene.objects if one.instance_type == "COLLECTION"}
    return any(one is not None and item.name in one.all_objects for one in shown)


def has_modifiers_before(item: bpy.types.Object) -> bool:
    """Whether renders show the splats changed by modifiers, of which their values know nothing."""
    before = takewhile(lambda modifier: modifier.name != MODIFIER, item.modifiers)
    return any(modifier.show_render for modifier in before)


def splat_object(name: str, splats: Splats, made: list[bpy.types.ID]) -> bpy.types.Object:
    """A new object, in no collection yet. Whatever datablock is made for it is appended to `made`."""
    for _ in splat_steps(name, splats, made):
        pass
    return next(one for one in made if isinstance(one, bpy.types.Object))


def splat_steps(name: str, splats: Splats, made: list[bpy.types.ID]) -> Iterator[None]:
    """The same in steps, between which Blender may draw."""
    mesh = bpy.data.meshes.new(name)
    made.append(mesh)
    yield from _fill_steps(mesh, splats)
    item = bpy.data.objects.new(name, mesh)
    made.append(item)
    material = splat_material(name, _mean_color(splats))
    made.append(material)
    mesh.materials.append(material)
    modifier = item.modifiers.new(MODIFIER, "NODES")
    modifier.node_group = splat_nodes(splats.degree)
    set_input(modifier, "Material", material)
    yield


def splats_of(item: bpy.types.Object, *, harmonics: bool = True) -> Splats:
    """The object's splats in its own frame; without `harmonics`, their colours of degree 0 alone."""
    mesh = item.data
    count = len(mesh.vertices)
    position = np.empty(3 * count, np.float32)
    mesh.vertices.foreach_get("co", position)
    widths = {"f_dc": 3, "opacity": 1, "scale": 3, "rotation": 4}
    values = {
        key: _columns(mesh, [pattern.format(place) for place in range(widths[key])])
        for key, pattern in _ATTRIBUTES.items()
    }
    rest = 3 * COUNTS[_degree(item)] if harmonics else 0
    columns = _columns(mesh, [f"f_rest_{place}" for place in range(rest)])
    return Splats(position=position.reshape(count, 3), f_rest=columns.reshape(count, 3, rest // 3), **values)


def _degree(item: bpy.types.Object) -> int:
    """Up to which the object has harmonics. Those that were deleted are 0, as the nodes take them."""
    drawn = degree_of(item.modifiers[MODIFIER].node_group)
    last = max((place for place in range(45) if f"f_rest_{place}" in item.data.attributes), default=-1)
    held = next(degree for degree in range(4) if 3 * COUNTS[degree] > last)
    return max(drawn, held) if last >= 0 else 0


def keep_splats(item: bpy.types.Object, kept: np.ndarray) -> None:
    """Deletes the splats that the mask (N,) leaves out; the others keep all that the mesh has of them."""
    mesh = _own_mesh(item)
    rows, none = np.flatnonzero(kept), np.empty((0, 3), np.int64)
    at_once(splice_steps(mesh, rows, np.empty((len(rows), 3)), none))
    refer(mesh)
    item.update_tag()


def add_splats(item: bpy.types.Object, splats: Splats) -> None:
    """Appends splats, in the object's frame, to its own, which keep all that the mesh has of them."""
    whole, keys = joined([splats_of(item), splats]), vertex_keys(item.data)
    mesh = _own_mesh(item)
    _fill(mesh, whole)
    if len(keys):
        named = np.append(keys, np.full(len(splats), FOREIGN, np.int32))
        name_vertices(mesh).data.foreach_set("value", named)
    if degree_of(item.modifiers[MODIFIER].node_group) != whole.degree:
        use_nodes(item, whole.degree)
    item.update_tag()


def _own_mesh(item: bpy.types.Object) -> bpy.types.Mesh:
    """The object's mesh; linked duplicates keep theirs."""
    if item.data.users > 1:
        item.data = item.data.copy()
    return item.data


def use_nodes(item: bpy.types.Object, degree: int) -> None:
    """Draws the object by the current nodes for harmonics of that degree, its settings kept."""
    modifier = item.modifiers[MODIFIER]
    kept = {name: get_input(modifier, name) for name in INPUTS}
    modifier.node_group = splat_nodes(degree)
    for name, value in kept.items():
        if value is not None:
            set_input(modifier, name, value)


def columns_of(splats: Splats) -> Iterator[tuple[str, np.ndarray]]:
    """Each attribute's name and values (N,), but for positions and harmonics."""
    for key, pattern in _ATTRIBUTES.items():
        columns = getattr(splats, key)
        for place in range(columns.shape[1]):
            yield pattern.format(place), columns[:, place]


def put_values(mesh: bpy.types.Mesh, splats: Splats) -> None:
    """Gives the mesh's vertices all values of as many splats but their positions."""
    for _ in _value_steps(mesh, splats):
        pass


def _value_steps(mesh: bpy.types.Mesh, splats: Splats) -> Iterator[None]:
    for name, column in columns_of(splats):
        _set(mesh, name, column)
        yield
    rest = splats.f_rest.reshape(len(splats), 3 * splats.f_rest.shape[2])
    for place in range(rest.shape[1]):
        _set(mesh, f"f_rest_{place}", rest[:, place])
        yield


def references(mesh: bpy.types.Mesh) -> tuple[np.ndarray, np.ndarray]:
    """(K,), which of the noted vertices are still there, counted from 0, and (K, 3), where they are now."""
    marks = vertex_keys(mesh, REFERENCE)
    if not len(marks):
        rows = _spread(mesh, _FORMER_REFERENCES)
        return np.arange(len(rows)), _places(mesh, rows)
    rows = np.flatnonzero(marks)
    numbers, first = np.unique(marks[rows], return_index=True)  # copies come after their originals
    return numbers - 1, _places(mesh, rows[first])


def refer(mesh: bpy.types.Mesh) -> None:
    """Notes that the mesh's values are right for its vertices as they are now."""
    rows = _spread(mesh, _REFERENCES)
    marks = np.zeros(len(mesh.vertices), np.int32)
    marks[rows] = np.arange(1, len(rows) + 1)
    attribute = mesh.attributes.get(REFERENCE) or mesh.attributes.new(REFERENCE, "INT", "POINT")
    attribute.data.foreach_set("value", marks)
    mesh[REFERENCE] = _places(mesh, rows).ravel().tolist()


def _spread(mesh: bpy.types.Mesh, most: int) -> np.ndarray:
    """The rows of some vertices that lie apart in the list."""
    count = len(mesh.vertices)
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))


def _places(mesh: bpy.types.Mesh, rows: np.ndarray) -> np.ndarray:
    return np.array([mesh.vertices[int(row)].co for row in rows], np.float32).reshape(-1, 3)


def _fill(mesh: bpy.types.Mesh, splats: Splats) -> None:
    for _ in _fill_steps(mesh, splats):
        pass


def _fill_steps(mesh: bpy.types.Mesh, splats: Splats) -> Iterator[None]:
    mesh.vertices.add(len(splats) - len(mesh.vertices))
    mesh.attributes["position"].data.foreach_set("vector", _flat(splats.position))
    yield from _value_steps(mesh, splats)
    refer(mesh)
    # Made by the modifier; Solid view goes by the name that the object's own mesh has.
    mesh.color_attributes.active_color_name = mesh.attributes.default_color_name = COLOR_ATTRIBUTE
    mesh.update()


def _set(mesh: bpy.types.Mesh, name: str, values: np.ndarray) -> None:
    attribute = mesh.attributes.get(name) or mesh.attributes.new(name, "FLOAT", "POINT")
    attribute.data.foreach_set("value", _flat(values))


def _columns(mesh: bpy.types.Mesh, names: list[str]) -> np.ndarray:
    table = np.zeros((len(mesh.vertices), len(names)), np.float32)
    for place, name in enumerate(names):
        if name in mesh.attributes:
            column = np.empty(len(table), np.float32)
            mesh.attributes[name].data.foreach_get("value", column)
            table[:, place] = column
    return table


def _mean_color(splats: Splats) -> tuple[float, float, float]:
    """What Solid view shows where it shows materials; linear."""
    encoded = 0.5 + harmonics.DC * splats.f_dc.mean(axis=0) if len(splats) else np.full(3, 0.5)
    red, green, blue = linear_from_srgb(encoded)
    return float(red), float(green), float(blue)


def _flat(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32).ravel()
