"""Any objects of the scene that have surfaces, joined to one coloured mesh, as the backend takes it.

Modifiers and instances count as they are seen. V vertices · F triangles.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import bpy
import numpy as np

from ..faults import Fault
from ..scene.gaussians.object import is_gaussian
from ..srgb import srgb_from_linear
from .colors import corner_colors, vertex_of_corner

MOST_FACES = 2_000_000
FLAT = 1e-4
"""How thin, as a share of its longest side, a mesh is too flat to be an object."""
EDGE = 1e-4
"""How far beyond an image coordinates may lie that are meant to lie on its edge."""
SURFACES = ("MESH", "CURVE", "SURFACE", "FONT", "META")


Parts = tuple[tuple[str, int], ...]
"""The names of objects in their order, and how many vertices were sent of each."""


@dataclass(frozen=True)
class MeshSource:
    """vertices (V, 3) f4 round the origin, the longest side of those that faces have 1; faces (F, 3) i4;
    colors (V, 3) f4 sRGB.

    matrix (4, 4) takes the vertices into the world. `parts`: the objects' names, and how many of the
    vertices, in their order, are of each. uv (F, 3, 2) f4: where all faces lie within an image.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray
    matrix: np.ndarray
    parts: Parts
    uv: np.ndarray | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The objects' names, each once, in the order of their parts."""
        return names_of(self.parts)

    @property
    def owners(self) -> np.ndarray:
        """The number in `names` of the object (V,) that each vertex is of."""
        numbers = [self.names.index(name) for name, _ in self.parts]
        return np.repeat(numbers, [count for _, count in self.parts])

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What a message holds of it."""
        return {"vertices": self.vertices, "faces": self.faces, "colors": self.colors}


def names_of(parts: Parts) -> tuple[str, ...]:
    """The names of the objects, each once: of an object with instances there are several parts."""
    return tuple(dict.fromkeys(name for name, _ in parts))


def has_surface(item: bpy.types.Object) -> bool:
    """Whether an object can be a part of the mesh."""
    return item.type in SURFACES and not (item.type == "MESH" and is_gaussian(item))


def read_objects(objects: Sequence[bpy.types.Object], depsgraph: bpy.types.Depsgraph) -> MeshSource:
    """Everything that the objects show, joined. Raises Fault where that is no mesh to start from."""
    chosen = [item for item in objects if has_surface(item)]
    if not chosen:
        raise Fault("No mesh object is selected: select at least one.")
    pieces = list(_pieces(chosen, depsgraph))
    names = ", ".join(f'"{item.name}"' for item in chosen[:3]) + (" …" if len(chosen) > 3 else "")
    if not any(len(piece.faces) for piece in pieces):
        raise Fault(f"{names} has no faces: select an object with a surface.")
    vertices = np.concatenate([piece.vertices for piece in pieces])
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    faces = np.concatenate([piece.faces + start for piece, start in zip(pieces, starts, strict=False)])
    if not np.isfinite(vertices).all():
        raise Fault(f"{names} has vertices that are not at finite places: remove them (Mesh > Clean Up).")
    surface = vertices[_used(faces, len(vertices))]
    if _is_flat(surface):
        raise Fault(f"{names} is flat: give it thickness, for example with a Solidify modifier.")
    low, high = surface.min(axis=0), surface.max(axis=0)
    size, centre = (high - low).max(), (low + high) / 2
    matrix = np.diag([size, size, size, 1.0])
    matrix[:3, 3] = centre
    return MeshSource(
        ((vertices - centre) / size).astype(np.float32),
        faces.astype(np.int32),
        np.concatenate([piece.colors for piece in pieces]),
        matrix,
        tuple((piece.name, len(piece.vertices)) for piece in pieces),
        _joined_uv(pieces),
    )


@dataclass(frozen=True)
class _Piece:
    """One object or instance in the world: vertices (V, 3) f8, faces (F, 3) i4, colors (V, 3) f4, and uv
    (F, 3, 2) f4 where it has coordinates for an image.
    """

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray
    uv: np.ndarray | None


def _pieces(chosen: Sequence[bpy.types.Object], depsgraph: bpy.types.Depsgraph) -> Iterator[_Piece]:
    wanted = set(chosen)
    count = 0
    for instance in depsgraph.object_instances:
        source = instance.parent if instance.is_instance else instance.object
        if source is None or source.original not in wanted or instance.object.type not in SURFACES:
            continue
        shown = instance.object
        mesh = shown.to_mesh()
        if mesh is None:
            continue
        try:
            if not mesh.vertices:  # which may have no places either
                continue
            count += len(mesh.loops) - 2 * len(mesh.polygons)  # n - 2 triangles of n corners
            if count > MOST_FACES:
                raise Fault(
                    f'"{source.name}" brings the selection over {MOST_FACES:,} triangles: simplify it, for '
                    "example with a Decimate modifier."
                )
            yield _piece(source.name, shown, mesh, np.array(instance.matrix_world, np.float64))
        finally:
            shown.to_mesh_clear()


def _piece(name: str, shown: bpy.types.Object, mesh: bpy.types.Mesh, matrix: np.ndarray) -> _Piece:
    # Attributes are copied whole, which is many times faster than asking every vertex and corner.
    vertices = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.attributes["position"].data.foreach_get("vector", vertices)
    corners = _triangles(mesh)
    if np.linalg.det(matrix[:3, :3]) < 0:  # mirrored: the outside stays outside
        corners = corners[:, ::-1]
    places = vertices.reshape(-1, 3).astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    uv = _corner_uv(mesh)
    return _Piece(
        name,
        places,
        vertex_of_corner(mesh)[corners],
        _vertex_colors(mesh, shown),
        None if uv is None else uv[corners],
    )


def _triangles(mesh: bpy.types.Mesh) -> np.ndarray:
    """The corners (F, 3) of the mesh's triangles."""
    if len(mesh.loops) == 3 * len(mesh.polygons):
        return np.arange(len(mesh.loops), dtype=np.int32).reshape(-1, 3)
    mesh.calc_loop_triangles()
    corners = np.empty(3 * len(mesh.loop_triangles), np.int32)
    mesh.loop_triangles.foreach_get("loops", corners)
    return corners.reshape(-1, 3)


def _corner_uv(mesh: bpy.types.Mesh) -> np.ndarray | None:
    """Where each corner lies in an image that is shown without saying by which coordinates."""
    layer = next((one for one in mesh.uv_layers if one.active_render), None)
    if layer is None:
        return None
    uv = np.empty(2 * len(mesh.loops), np.float32)
    layer.uv.foreach_get("vector", uv)
    return uv.reshape(-1, 2)


def _joined_uv(pieces: Sequence[_Piece]) -> np.ndarray | None:
    held = [piece.uv for piece in pieces if piece.uv is not None]
    if len(held) < len(pieces):
        return None
    uv = np.concatenate(held)
    return uv if np.isfinite(uv).all() and uv.min() >= -EDGE and uv.max() <= 1 + EDGE else None


def _vertex_colors(mesh: bpy.types.Mesh, shown: bpy.types.Object) -> np.ndarray:
    """(V, 3) sRGB: the mean over each vertex's corners."""
    linear, corners, count = corner_colors(mesh, shown), vertex_of_corner(mesh), len(mesh.vertices)
    shares = np.maximum(np.bincount(corners, minlength=count), 1)
    means = np.stack([np.bincount(corners, linear[:, n], count) / shares for n in range(3)], axis=1)
    return srgb_from_linear(means).astype(np.float32)


def _used(faces: np.ndarray, count: int) -> np.ndarray:
    """Which of the vertices (V,) faces have."""
    used = np.zeros(count, bool)
    used[faces] = True
    return used


def _is_flat(points: np.ndarray) -> bool:
    """Whether points (N, 3) lie in a plane, however it is turned."""
    centred = points - points.mean(axis=0)
    longest = np.ptp(points, axis=0).max()
    if longest == 0.0:
        return True
    _, axes = np.linalg.eigh(centred.T @ centred / longest**2)
    return bool(np.ptp(centred @ axes[:, 0]) < FLAT * longest)
