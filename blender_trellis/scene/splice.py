"""A mesh takes on new geometry and keeps the vertices that it has: with all that an artist did to them.

What is kept is not copied but never touched: positions, weights, shape keys and every attribute of vertices,
edges, faces and corners stay because they are the mesh's own.

V vertices of the new geometry · F its faces
"""

from collections.abc import Callable, Iterable
from itertools import compress

import bmesh
import bpy
import numpy as np
from mathutils.kdtree import KDTree

from .steps import CHUNK, Steps

ROW = ".trellis_row"
MOST_NAMED = 2_000_000  # vertices of which three in a row make one number of 64 bits
AWKWARD = {"FLOAT4X4"}  # bmesh of Blender 4.5 crashes on these


def splice_steps(
    mesh: bpy.types.Mesh, rows: np.ndarray, places: np.ndarray, faces: np.ndarray
) -> Steps[np.ndarray]:
    """Gives `mesh` the vertices `places` (V, 3) and the triangles `faces` (F, 3), in place.

    rows: (V,), which of the mesh's vertices each is, -1 for new ones. Vertices that are not named go. Faces
    of three kept vertices stay themselves where the new geometry has them. Gives the order (V,): the mesh's
    vertices are those of the new geometry in this order.
    """
    here = np.full(len(mesh.vertices), -1, np.int64)
    here[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    stays, lacking = yield from _same_faces(mesh, here, faces)
    yield
    material = mesh.polygons[0].material_index if len(mesh.polygons) else 0
    aside = _set_aside(mesh)
    shape = bmesh.new()
    try:
        shape.from_mesh(mesh)
        yield
        give_weights = _weights_near(shape)
        yield
        wires = {edge for edge in shape.edges if edge.is_wire}
        yield
        bmesh.ops.delete(shape, geom=list(compress(shape.faces, ~stays)), context="FACES_ONLY")
        yield
        bmesh.ops.delete(shape, geom=list(compress(shape.verts, here < 0)), context="VERTS")
        yield
        for vertex, index in zip(shape.verts, here[here >= 0].tolist(), strict=True):
            vertex.index = index  # from here on that in the new geometry
        yield from _grow(shape, np.flatnonzero(rows < 0), places, faces[lacking], material)
        yield
        for number, vertex in enumerate([one for one in shape.verts if rows[one.index] < 0]):
            give_weights(vertex)
            if number % CHUNK == CHUNK - 1:
                yield
        yield
        order = np.array([vertex.index for vertex in shape.verts], np.int64)
        yield
        for edge in [edge for edge in shape.edges if edge.is_wire]:
            if edge not in wires:
                shape.edges.remove(edge)
        yield
        shape.to_mesh(mesh)
    finally:
        shape.free()
    _put_back(mesh, aside)
    mesh.update()
    return order


def _weights_near(shape: bmesh.types.BMesh) -> Callable[[bmesh.types.BMVert], None]:
    """What gives a new vertex the weights of the nearest old one, so that it moves along with a rig."""
    layer = shape.verts.layers.deform.active
    if layer is None or not len(shape.verts):
        return lambda vertex: None
    tree, weights = KDTree(len(shape.verts)), []
    for place, vertex in enumerate(shape.verts):
        tree.insert(vertex.co, place)
        weights.append(dict(vertex[layer]))
    tree.balance()

    def give(vertex: bmesh.types.BMVert) -> None:
        held = vertex[layer]
        for group, weight in weights[tree.find(vertex.co)[1]].items():
            held[group] = weight

    return give


def _same_faces(
    mesh: bpy.types.Mesh, here: np.ndarray, faces: np.ndarray
) -> Steps[tuple[np.ndarray, np.ndarray]]:
    """Which faces of the mesh the new geometry has too, and which of the new geometry's the mesh lacks: each
    once, and none without three corners, for neither can be made."""
    corners = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", corners)
    lengths = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("loop_total", lengths)
    stays = lengths == 3
    starts = np.cumsum(lengths) - lengths
    triangles = (
        here[corners[starts[stays, None] + np.arange(3)]] if stays.any() else np.empty((0, 3), np.int64)
    )
    both = np.sort(np.concatenate([triangles, faces.astype(np.int64)]), axis=1)
    count = len(here) + int(faces.max(initial=0)) + 2
    pairs = (both[:, 0] + 1) * count + both[:, 1] + 1
    yield
    if count >= MOST_NAMED:
        pairs = np.unique(pairs, return_inverse=True)[1]
        yield
    names = pairs * count + both[:, 2] + 1
    whole = (triangles >= 0).all(axis=1)
    old, new = names[: len(triangles)], names[len(triangles) :]
    stays[stays] = whole & np.isin(old, new)
    yield
    first = np.zeros(len(faces), bool)
    first[np.unique(new, return_index=True)[1]] = True
    yield
    lacking = first & ~np.isin(new, old[whole]) & (np.diff(both[len(triangles) :], axis=1) > 0).all(axis=1)
    return stays, lacking


def _grow(
    shape: bmesh.types.BMesh, new: np.ndarray, places: np.ndarray, faces: np.ndarray, material: int
) -> Steps[None]:
    """Adds the vertices `new`, and faces between all; vertices have the indices of the new geometry."""
    named: list[bmesh.types.BMVert | None] = [None] * len(places)
    for vertex in shape.verts:
        named[vertex.index] = vertex
    for number, index in enumerate(new.tolist()):
        vertex = named[index] = shape.verts.new(places[index])
        vertex.index = index
        if number % CHUNK == CHUNK - 1:
            yield
    for number, (a, b, c) in enumerate(faces.tolist()):
        face = shape.faces.new((named[a], named[b], named[c]))
        face.smooth, face.material_index = True, material
        if number % CHUNK == CHUNK - 1:
            yield


# ---- attributes -------------------------------------------------------------------------------------------


def set_values(mesh: bpy.types.Mesh, name: str, rows: np.ndarray, values: np.ndarray) -> None:
    """Sets an attribute of these vertices, values (n,) or (n, C), where the mesh has it for vertices."""
    attribute = mesh.attributes.get(name)
    if attribute is None or attribute.domain != "POINT" or not len(rows):
        return
    item = "color" if attribute.data_type in ("FLOAT_COLOR", "BYTE_COLOR") else "value"
    new = np.ascontiguousarray(values).reshape(len(rows), -1)
    dtype = np.int32 if attribute.data_type == "INT" else np.float32
    held: np.ndarray = np.empty(len(mesh.vertices) * new.shape[1], dtype)
    attribute.data.foreach_get(item, held)
    held.reshape(len(mesh.vertices), -1)[rows] = new
    attribute.data.foreach_set(item, held)


def _set_aside(mesh: bpy.types.Mesh) -> list[tuple[str, str, str, np.ndarray]]:
    """Takes the attributes away that bmesh cannot carry; rows say which of the old elements is which."""
    aside: list[tuple[str, str, str, np.ndarray]] = []
    for attribute in [one for one in mesh.attributes if one.data_type in AWKWARD]:
        held = np.empty(16 * len(attribute.data), np.float32)
        attribute.data.foreach_get("value", held)
        aside.append((attribute.name, attribute.domain, attribute.data_type, held.reshape(-1, 16)))
    for name, domain, _, held in aside:
        mesh.attributes.remove(mesh.attributes[name])
        if f"{ROW}_{domain}" not in mesh.attributes:
            rows = mesh.attributes.new(f"{ROW}_{domain}", "INT", domain)
            rows.data.foreach_set("value", np.arange(1, len(held) + 1, dtype=np.int32))
    return aside


def _put_back(mesh: bpy.types.Mesh, aside: Iterable[tuple[str, str, str, np.ndarray]]) -> None:
    for name, domain, kind, held in aside:
        source = mesh.attributes[f"{ROW}_{domain}"].data
        rows = np.empty(len(source), np.int32)
        source.foreach_get("value", rows)
        values = np.concatenate([np.zeros((1, 16), np.float32), held])[rows].ravel()  # row 0: the new ones
        mesh.attributes.new(name, kind, domain).data.foreach_set("value", values)
    for name in [one.name for one in mesh.attributes if one.name.startswith(ROW)]:
        mesh.attributes.remove(mesh.attributes[name])
