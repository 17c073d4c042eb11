"""Which collection an object's asset is, what its objects are, and where its unit cube lies in the world.

V vertices · K sampled vertices
"""

import uuid
from collections.abc import Callable, Iterable

import bpy
import numpy as np
from mathutils import Matrix

from ..protocol import Format
from .asset import Arrays

ASSET = "trellis_asset"  # a collection's id; its objects have it too
PART = "trellis_part"  # of an object, one of:
PARTS = ("mesh", "finished", "gaussian", "root")  # with "finished", "mesh" is the raw one, which is hidden
BODIES = ("finished", "mesh", "gaussian")
REGION = "trellis_region"  # of a region's object: the id of its asset
KEY = "trellis_key"  # the attribute that names vertices and splats
FOREIGN = -1  # the name of a splat that came from elsewhere
SAMPLE = "trellis_sample"  # of a mesh: rows, keys and places of some vertices as they were made
SIZE = "trellis_size"  # of a mesh: how many vertices and faces were made
SAMPLES = 96
SAME = 1e-5  # of the unit cube
DRAWS = 200  # of four vertices each; that one holds none that was sculpted is certain up to half of them
FITS = 0.2  # of how far the vertices went, what a map that is believed may leave unexplained


def asset_of_object(item: bpy.types.Object) -> bpy.types.Collection | None:
    """The generated asset's collection that the object belongs to, also where it was moved to another."""
    found = next((one for one in item.users_collection if ASSET in one), None)
    return found if found is not None or PART not in item else find_asset(str(item.get(ASSET, "")))


def find_asset(name: str) -> bpy.types.Collection | None:
    """The collection with this id, None where it is in no scene any more; of a copy the original."""
    if not name:
        return None
    every = (one for scene in bpy.data.scenes for one in scene.collection.children_recursive)
    found = [one for one in every if one.get(ASSET) == name and one.library is None]
    return min(found, key=lambda one: one.session_uid, default=None)


LINKED = "The asset is linked from another file: make it local first"
"""Why an asset that is not local cannot be changed."""
IN_EDIT_MODE = "Leave edit mode first"
"""Why what reads an asset's meshes cannot be done while one is in edit mode."""


def is_local(block: bpy.types.ID) -> bool:
    """Whether an asset or an object may be changed: one of another file may not, nor one that overrides such
    a one."""
    return block.library is None and block.override_library is None


def add_selected(item: bpy.types.Object, context: bpy.types.Context) -> None:
    """Puts a new object into the active collection, or the scene's own where that one may not be changed,
    selected and active.
    """
    collection = context.collection if is_local(context.collection) else context.scene.collection
    collection.objects.link(item)
    for other in context.selected_objects:
        other.select_set(False)
    item.select_set(True)
    context.view_layer.objects.active = item


def objects_in(view_layer: bpy.types.ViewLayer) -> list[bpy.types.Object]:
    """The objects of a view layer, to be asked anything while they are gone through.

    Asking one whether it is seen or selected may renew Blender's own list, which is freed with that: going on
    in it crashes. Until it is renewed it has None for objects that were removed.
    """
    return [item for item in list(view_layer.objects) if item is not None]


def asset_id(collection: bpy.types.Collection) -> str:
    """The id of an asset; a copy, which was born with that of its original, gets one of its own here."""
    name = str(collection.get(ASSET, ""))
    alike = [one for one in bpy.data.collections if one.get(ASSET) == name]
    if not name or min(alike, key=lambda one: one.session_uid) != collection:
        name = new_id()
        collection[ASSET] = name
        _name([one for one in collection.objects if PART in one], name)
    return name


def own_asset(item: bpy.types.Object) -> bpy.types.Collection | None:
    """The asset that the object belongs to. A copy, which Blender leaves in the collection of the original
    or an artist has moved to another, becomes an asset of its own here, together with what was copied with
    it under the same parent."""
    collection = asset_of_object(item)
    copies = _copied_with(item, collection) if collection is not None else []
    if collection is None or not copies:
        return collection
    fresh = bpy.data.collections.new(collection.name)
    for key in collection.keys():
        fresh[key] = collection[key]
    fresh[ASSET] = new_id()
    _name(copies, fresh[ASSET])
    for one in copies:
        if one.name in collection.objects:
            collection.objects.unlink(one)
        fresh.objects.link(one)
    for parent in (scene.collection for scene in bpy.data.scenes):
        for above in (parent, *parent.children_recursive):
            if collection.name in above.children and fresh.name not in above.children:
                above.children.link(fresh)
    return fresh


def own_part(item: bpy.types.Object | None, kind: str) -> bpy.types.Object | None:
    """What `part` gives of the object's asset, of a copy the copied one. It changes nothing, so that polls
    and panels may ask."""
    collection = asset_of_object(item) if item is not None else None
    if item is None or collection is None:
        return None
    copies = _copied_with(item, collection)
    if not copies:
        return part(collection, kind)
    return next((one for one in copies if one[PART] == kind), None)


def _copied_with(item: bpy.types.Object, collection: bpy.types.Collection) -> list[bpy.types.Object]:
    """A copy of one of the asset's objects and what was copied with it; none where it is no copy."""
    kind = item.get(PART)
    if kind is None or part(collection, kind) == item:
        return []
    root = item if kind == "root" else item.parent
    firsts = {part(collection, one) for one in PARTS}
    group = (item,) if root is None or root in firsts else (root, *root.children)
    return [one for one in group if PART in one and one.get(ASSET) == collection.get(ASSET)]


def companions(item: bpy.types.Object) -> list[bpy.types.Object]:
    """The objects of the asset that one belongs to, itself among them, and not those of its copies. Where the
    asset's collection is gone: what hangs on the same Empty, or else all that has the same id; none of what
    is no asset's."""
    collection = asset_of_object(item)
    if PART not in item:
        return []
    if collection is not None:
        return _copied_with(item, collection) or list(members(collection))
    root = item if item[PART] == "root" else item.parent
    has_root = root is not None and root.get(PART) == "root"
    group = (root, *root.children) if has_root else [one for one in bpy.data.objects if one.users_collection]
    return [one for one in group if PART in one and one.get(ASSET) == item.get(ASSET)]


def _name(items: list[bpy.types.Object], name: str) -> None:
    """Gives the objects of an asset its id, and their regions."""
    for item in items:
        item[ASSET] = name
        for below in item.children_recursive:
            if REGION in below:
                below[REGION] = name


def new_id() -> str:
    """Of an asset, such as no other one has."""
    return uuid.uuid4().hex


def part(collection: bpy.types.Collection, kind: str) -> bpy.types.Object | None:
    """The asset's object of that kind, one of PARTS; of copies the first, None where it was removed."""
    inside = next((item for item in collection.objects if item.get(PART) == kind), None)
    if inside is not None or ASSET not in collection:
        return inside
    name = collection[ASSET]
    moved = (one for one in bpy.data.objects if one.get(PART) == kind and one.get(ASSET) == name)
    return next((one for one in moved if one.users_collection), None)


def formats_of(collection: bpy.types.Collection) -> tuple[Format, ...]:
    """What the asset has in the scene of what a model gives."""
    kinds: tuple[Format, ...] = ("mesh", "gaussian")
    return tuple(kind for kind in kinds if part(collection, kind) is not None)


def members(collection: bpy.types.Collection) -> tuple[bpy.types.Object, ...]:
    """The asset's objects."""
    inside = [item for item in collection.objects if PART in item]
    parts = (part(collection, kind) for kind in PARTS)
    return tuple(dict.fromkeys([*inside, *(one for one in parts if one is not None)]))


def in_use(collection: bpy.types.Collection) -> bool:
    """Whether somebody edits, sculpts or paints one of the asset's objects: its mesh is not to be touched."""
    return any(is_edited(item) for item in members(collection))


def is_in_edit_mode(items: Iterable[bpy.types.Object]) -> bool:
    """Whether a mesh of these objects is in edit mode, be it through another object: Blender keeps what is
    stored with its vertices elsewhere then, and whoever reads the mesh finds nothing."""
    return any(item.type == "MESH" and item.data.is_editmode for item in items)


def is_edited(item: bpy.types.Object) -> bool:
    """Whether somebody edits, sculpts or paints the object, or edits its mesh through another object."""
    return item.mode != "OBJECT" or (item.type == "MESH" and item.data.is_editmode)


def body(collection: bpy.types.Collection) -> bpy.types.Object | None:
    """The object whose place is the asset's: the first of BODIES that is shown, or else that there is; None
    where nothing is left.
    """
    return _body(lambda kind: part(collection, kind))


def own_body(item: bpy.types.Object) -> bpy.types.Object | None:
    """What `body` gives of the object's asset, of a copy the copied one."""
    return _body(lambda kind: own_part(item, kind))


def _body(find: Callable[[str], bpy.types.Object | None]) -> bpy.types.Object | None:
    first = None
    for kind in BODIES:
        one = find(kind)  # which may search the whole file
        if one is not None and not one.hide_viewport:
            return one
        first = first or one
    return first


def asset_matrix(collection: bpy.types.Collection) -> Matrix:
    """The 4 × 4 matrix that takes the asset's unit cube [-0.5, 0.5]³ into the world.

    It follows the `body` as of the view layer's last update, and also what was done to all of a mesh's
    vertices at once, as applying a scale does.
    """
    item = body(collection)
    return body_matrix(item) if item is not None else Matrix.Identity(4)


def body_matrix(item: bpy.types.Object) -> Matrix:
    """The same by the `body` itself."""
    return world_matrix(item) @ data_frame(item.data)


def gather(items: Iterable[bpy.types.Object]) -> None:
    """Brings what is hidden of one asset's objects to the place of its `body`, and the regions that hang on
    it: somebody who moved what is seen has moved the asset.
    """
    firsts = {item.get(PART): item for item in reversed(list(items))}
    bodies = [firsts[kind] for kind in BODIES if kind in firsts]
    lead = next((one for one in bodies if not one.hide_viewport), bodies[0] if bodies else None)
    for item in bodies:
        if item != lead and item.hide_viewport:
            _follow(item, lead)
            hang_regions(item, lead)


def hang_regions(before: bpy.types.Object, now: bpy.types.Object) -> None:
    """Hangs an asset's regions on another of its objects, which stands in the same place."""
    change = data_frame(now.data) @ data_frame(before.data).inverted_safe()
    for item in [one for one in before.children if REGION in one and one.parent_type == "OBJECT"]:
        inverse = change @ item.matrix_parent_inverse
        item.parent, item.matrix_parent_inverse = now, inverse


def _follow(item: bpy.types.Object, lead: bpy.types.Object) -> None:
    """Puts an object where another of the same asset stands."""
    change = data_frame(lead.data) @ data_frame(item.data).inverted_safe()
    if _hang_alike(item, lead):
        own = lead.matrix_basis @ change
    else:
        own = world_matrix(lead) @ change
        if item.parent is not None and item.parent_type == "OBJECT":
            own = (world_matrix(item.parent) @ item.matrix_parent_inverse).inverted_safe() @ own
    off = np.abs(np.array(own) - np.array(item.matrix_basis)).max()
    if off > SAME * np.abs(np.array(own)).max():
        item.matrix_basis = own


def _hang_alike(one: bpy.types.Object, other: bpy.types.Object) -> bool:
    """Whether two objects have their transforms in the same frame, which then need not be up to date."""
    free = not one.constraints and not other.constraints and one.parent_type == other.parent_type == "OBJECT"
    return free and one.parent == other.parent and one.matrix_parent_inverse == other.matrix_parent_inverse


def world_matrix(item: bpy.types.Object) -> Matrix:
    """The object's world matrix, also of one that is hidden, whose own Blender does not keep up to date."""
    if item.visible_get():
        return item.matrix_world.copy()
    if item.parent is None or item.parent_type != "OBJECT":
        return item.matrix_basis.copy()
    return world_matrix(item.parent) @ item.matrix_parent_inverse @ item.matrix_basis


# ---- the frame of a mesh's own coordinates ----------------------------------------------------------------


def store_sample(mesh: bpy.types.Mesh, keys: np.ndarray, places: np.ndarray) -> None:
    """Remembers where some of the vertices (V,), (V, 3) lie in the asset's frame."""
    rows = np.unique(np.linspace(0, len(keys) - 1, min(SAMPLES, len(keys))).astype(np.int64))
    mesh[SAMPLE] = {
        "keys": np.asarray(keys)[rows].tolist(),
        "places": np.asarray(places, np.float64)[rows].ravel().tolist(),
        "rows": rows.tolist(),
    }


def data_frame(mesh: bpy.types.Mesh) -> Matrix:
    """The matrix that takes the asset's frame to the mesh's own coordinates.

    The identity as long as most of the sampled vertices lie where they were made, whatever happened to
    others; else the affine map that fits most of them.
    """
    made, now = _sampled(mesh)
    if len(made) < 8 or (np.abs(made - now).max(axis=1) < SAME).mean() >= 0.5:
        return Matrix.Identity(4)
    if np.linalg.matrix_rank(made - made.mean(axis=0), tol=SAME) < 3:
        return Matrix.Identity(4)  # quite flat: nothing says what became of the third axis
    size = max(float(np.ptp(now, axis=0).max()), 1e-12)
    ones = np.concatenate([made, np.ones((len(made), 1))], axis=1)
    solution = _map_of_most(ones, now)
    for _ in range(3):
        off = np.linalg.norm(ones @ solution - now, axis=1)
        used = off <= max(2.0 * float(np.median(off)), SAME * size)
        solution = np.linalg.lstsq(ones[used], now[used], rcond=None)[0]
    left, before = (np.median(np.linalg.norm(one - now, axis=1)) for one in (ones @ solution, made))
    if left > FITS * before:
        return Matrix.Identity(4)  # sculpted all over, or smoothed
    return Matrix([*solution.T.tolist(), [0.0, 0.0, 0.0, 1.0]])


def _map_of_most(ones: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Of the affine maps (4, 3) through four pairs of (K, 4) and (K, 3) that of the least median distance."""
    random = np.random.default_rng(0)
    fours = np.argsort(random.random((DRAWS, len(ones))), axis=1)[:, :4]
    maps = np.linalg.pinv(ones[fours]) @ now[fours]
    off = np.linalg.norm(ones @ maps - now, axis=2)
    return maps[np.median(off, axis=1).argmin()]


def _sampled(mesh: bpy.types.Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Where sampled vertices were made and where they are now, both (K, 3)."""
    stored, attribute = mesh.get(SAMPLE), mesh.attributes.get(KEY)
    if stored is None or attribute is None or len(attribute.data) != len(mesh.vertices):
        return np.empty((0, 3)), np.empty((0, 3))
    keys, rows = list(stored["keys"]), list(stored["rows"])
    places = np.array(stored["places"]).reshape(-1, 3)
    count = len(attribute.data)
    if any(row >= count or attribute.data[row].value != key for row, key in zip(rows, keys, strict=True)):
        rows = rows_of(np.array(keys), vertex_keys(mesh)).tolist()
    found = [place for place, row in enumerate(rows) if row >= 0]
    now = np.array([mesh.vertices[rows[place]].co for place in found]).reshape(-1, 3)
    return places[found], now


def vertex_keys(mesh: bpy.types.Mesh, attribute_name: str = KEY) -> np.ndarray:
    """The names (V,) of a mesh's vertices or splats; empty where they were removed."""
    attribute = mesh.attributes.get(attribute_name)
    if attribute is None or (attribute.domain, attribute.data_type) != ("POINT", "INT"):
        return np.empty(0, np.int32)
    keys = np.empty(len(attribute.data), np.int32)
    attribute.data.foreach_get("value", keys)
    return keys


def rows_of(keys: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Where each of the keys is among those present, -1 where it is not."""
    if not len(present):
        return np.full(len(keys), -1, np.int64)
    order = np.argsort(present, kind="stable")
    rows = order[np.minimum(np.searchsorted(present, keys, sorter=order), len(order) - 1)]
    return np.where(present[rows] == keys, rows, -1)


def store_size(mesh: bpy.types.Mesh) -> None:
    """Remembers how many vertices and faces were made."""
    mesh[SIZE] = [len(mesh.vertices), len(mesh.polygons)]


def stored_size(mesh: bpy.types.Mesh) -> tuple[int, ...]:
    """How many vertices and faces were made; empty where that is not known."""
    return tuple(mesh.get(SIZE, ()))


def store_keys(mesh: bpy.types.Mesh, arrays: Arrays, places: str) -> None:
    """Gives vertices their names, where the arrays hold them, and remembers where they were made."""
    if "keys" not in arrays:
        return
    name_vertices(mesh).data.foreach_set("value", np.ascontiguousarray(arrays["keys"], np.int32))
    store_sample(mesh, arrays["keys"], arrays[places])


def name_vertices(mesh: bpy.types.Mesh) -> bpy.types.Attribute:
    """The attribute for the names of vertices, made anew."""
    if KEY in mesh.attributes:
        mesh.attributes.remove(mesh.attributes[KEY])
    return mesh.attributes.new(KEY, "INT", "POINT")
