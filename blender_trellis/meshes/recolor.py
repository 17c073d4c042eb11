"""Colours that the backend sends for objects of the scene, as a colour attribute of their own meshes and as
an image on their texture coordinates.

V vertices of an object's mesh · E vertices that were sent of it, modifiers applied.
"""

import re
from collections.abc import Sequence

import bpy
import numpy as np
from mathutils import Vector
from mathutils.kdtree import KDTree

from ..faults import Fault
from ..scene.find_asset import is_edited
from ..scene.materials import packed_image, texture_material, vertex_color_material
from ..srgb import linear_from_srgb
from .source import MeshSource, Parts, names_of, read_objects

ATTRIBUTE = "Retexture"
"""Of its own name, so that what the artist has painted stays."""
IMAGE = "trellis_retexture"  # of a mesh: the image that has its colours

_MOVING = frozenset(
    "ARMATURE CAST CORRECTIVE_SMOOTH CURVE DISPLACE HOOK LAPLACIANDEFORM LAPLACIANSMOOTH LATTICE MESH_CACHE "
    "MESH_DEFORM MESH_SEQUENCE_CACHE MULTIRES SHRINKWRAP SIMPLE_DEFORM SMOOTH SUBSURF SURFACE_DEFORM WARP "
    "WAVE".split()
)
"""The types of modifiers that move a mesh's own vertices, and put those that they make behind them."""
_REMOVING = frozenset(
    "BEVEL BOOLEAN BUILD DECIMATE EXPLODE MASK MIRROR REMESH SCREW SKIN WELD WIREFRAME".split()
)
"""The types that may remove some of a mesh's own vertices: others then have their numbers."""
_OURS = re.compile(rf"{ATTRIBUTE}(\.\d+)?")  # with a number where something else has the name


def why_not_recolored(objects: Sequence[bpy.types.Object]) -> str:
    """Why the objects' meshes can get no colours, one sentence; empty where they can."""
    owners: dict[bpy.types.Mesh, bpy.types.Object] = {}
    for item in objects:
        if item.type != "MESH":
            return f'"{item.name}" is no mesh: convert it to one first.'
        if item.library is not None or item.data.library is not None:
            return f'"{item.name}" is linked from another file: make it and its mesh local first.'
        other = owners.setdefault(item.data, item)
        if other != item:
            return (
                f'"{other.name}" and "{item.name}" share one mesh, which holds the colors of one: select one '
                "of them, or make them single users."
            )
    return ""


def sent_objects(parts: Parts, uids: Sequence[int], scene: int, path: str) -> list[bpy.types.Object | None]:
    """The objects of the parts, each once: by their session_uid, for one may be renamed or have another's
    name since they were sent. Where the scene of this session_uid is gone with its file, by name, if the file
    at `path` that they were sent from is open again.
    """
    names = names_of(parts)
    if uids and any(one.session_uid == scene for one in bpy.data.scenes):
        by_uid = {item.session_uid: item for item in bpy.data.objects}
        return [by_uid.get(uid) for uid in uids]
    is_open = path and path == bpy.data.filepath
    return [bpy.data.objects.get(name) if is_open else None for name in names]


def why_not_yet(objects: Sequence[bpy.types.Object | None], view_layer: bpy.types.ViewLayer) -> str:
    """What the objects' colours have to wait for, one sentence; empty where nothing is in their way."""
    for item in filter(None, objects):
        if is_edited(item):
            return f'The colors of "{item.name}" are done: leave Edit, Sculpt or Paint Mode to receive them.'
        if item.users_scene and not item.visible_get(view_layer=view_layer):  # Blender evaluates none hidden
            return f'The colors of "{item.name}" are done: show it in its scene to receive them.'
    return ""


def recolor(
    objects: Sequence[bpy.types.Object | None],
    parts: Parts,
    colors: np.ndarray,
    textures: Sequence[bytes],
    surface: tuple[float, float],
) -> str:
    """Gives the objects the colours (E, 3) sRGB of all their parts. Fault where they are not as sent.

    textures: of each object a picture file of them on its coordinates, or none. surface: roughness and
    metallic where they are shown. Gives one sentence on where to find one of them, or "".
    """
    names, present = names_of(parts), [item for item in objects if item is not None]
    lost = next((name for name, item in zip(names, objects, strict=True) if item is None), names[0])
    changed = f'"{lost}" was changed or removed while it was colored: nothing was done to it.'
    if len(present) < len(objects):
        raise Fault(changed)
    try:
        source = read_objects(present, bpy.context.evaluated_depsgraph_get())
    except Fault as fault:  # it had a surface when it was sent
        raise Fault(changed) from fault
    former = {item.name: name for item, name in zip(present, names, strict=True)}
    found = tuple((former[name], count) for name, count in source.parts)
    if found != parts or len(source.vertices) != len(colors):
        raise Fault(changed)
    linear, owners, told = linear_from_srgb(colors), source.owners, ""
    for number, item in enumerate(present):
        own = np.flatnonzero(owners == number)
        shown = linear[own][_nearest(item, source, own)]
        name = _set_colors(item.data, shown)
        image = _set_image(item, textures[number]) if textures else None
        if not any(slot.material for slot in item.material_slots):
            _set_material(item, _material(item.name, shown, name, image, surface))
        elif image is not None and not _shows(item, image):
            told = f'The image "{image.name}" has the colors: choose it in a material to show them.'
        item.data.update()
    return told


def _nearest(item: bpy.types.Object, source: MeshSource, own: np.ndarray) -> np.ndarray | slice:
    """Of each of the object's own vertices (V,) the nearest that was sent; modifiers may have made others."""
    removing = any(one.show_viewport and one.type in _REMOVING for one in item.modifiers)
    if len(own) == len(item.data.vertices) and not removing:
        return slice(None)
    places = source.vertices[own] @ source.matrix[:3, :3].T + source.matrix[:3, 3]
    tree = KDTree(len(places))
    for number, place in enumerate(places):
        tree.insert(Vector(place), number)
    tree.balance()
    return np.array([tree.find(Vector(place))[1] for place in _seen_places(item)], np.int64)


def _seen_places(item: bpy.types.Object) -> np.ndarray:
    """(V, 3), where the object's own vertices are seen in the world: posed, smoothed, by its shape keys.

    A copy of the object says it, without those of its modifiers that mix them with others.
    """
    copy = item.copy()
    try:
        for modifier in copy.modifiers:
            modifier.show_viewport = modifier.show_viewport and modifier.type in _MOVING
        bpy.context.scene.collection.objects.link(copy)
        bpy.context.view_layer.update()
        evaluated = copy.evaluated_get(bpy.context.evaluated_depsgraph_get())
        count = len(item.data.vertices)
        mesh = evaluated.data if len(evaluated.data.vertices) >= count else item.data
        places = np.empty(3 * len(mesh.vertices), np.float32)
        mesh.attributes["position"].data.foreach_get("vector", places)
        matrix = np.array(evaluated.matrix_world)
    finally:
        bpy.data.objects.remove(copy)
    return places.reshape(-1, 3)[:count] @ matrix[:3, :3].T + matrix[:3, 3]


def _set_colors(mesh: bpy.types.Mesh, linear: np.ndarray) -> str:
    """`linear` (V, 3). Gives the name of the attribute."""
    former = next((one for one in mesh.color_attributes if _OURS.fullmatch(one.name)), None)
    if former is not None and (former.domain, former.data_type) != ("POINT", "FLOAT_COLOR"):
        mesh.color_attributes.remove(former)
        former = None
    attribute = former or mesh.color_attributes.new(ATTRIBUTE, "FLOAT_COLOR", "POINT")
    rgba = np.ones((len(linear), 4), np.float32)
    rgba[:, :3] = linear
    attribute.data.foreach_set("color", rgba.ravel())
    mesh.color_attributes.active_color = attribute
    mesh.color_attributes.render_color_index = mesh.color_attributes.find(attribute.name)
    return attribute.name


def _set_image(item: bpy.types.Object, file: bytes) -> bpy.types.Image:
    """The picture file as an image, in the place of a former one wherever that is used; a mesh that
    was copied with it keeps the former."""
    image, former = packed_image(f"{item.name} {ATTRIBUTE}", file), item.data.get(IMAGE)
    if former is not None and any(
        mesh != item.data and mesh.get(IMAGE) == former for mesh in bpy.data.meshes
    ):
        _show_instead(item, former, image)
    elif former is not None:
        former.user_remap(image)
        name = former.name
        bpy.data.images.remove(former)
        image.name = name
    item.data[IMAGE] = image  # which keeps it in the file, whether a material uses it or not
    return image


def _show_instead(item: bpy.types.Object, former: bpy.types.Image, image: bpy.types.Image) -> None:
    """Puts the image in the former's place in the object's materials, in copies where others use them."""
    for slot in item.material_slots:
        if not _nodes_showing(slot.material, former):
            continue
        if slot.material.users > 1:
            slot.material = slot.material.copy()
        for node in _nodes_showing(slot.material, former):
            node.image = image


def _material(
    name: str,
    linear: np.ndarray,
    attribute: str,
    image: bpy.types.Image | None,
    surface: tuple[float, float],
) -> bpy.types.Material:
    """One that shows the image, or else the colours of the vertices."""
    red, green, blue = map(float, linear.mean(axis=0))
    if image is None:
        return vertex_color_material(name, (red, green, blue), attribute)
    return texture_material(name, (red, green, blue), image, *surface)


def _set_material(item: bpy.types.Object, material: bpy.types.Material) -> None:
    for slot in item.material_slots:  # which faces may have, empty as they are
        slot.material = material
    if not item.material_slots:
        item.data.materials.append(material)


def _shows(item: bpy.types.Object, image: bpy.types.Image) -> bool:
    """Whether a material of the object uses the image."""
    return any(_nodes_showing(slot.material, image) for slot in item.material_slots)


def _nodes_showing(
    material: bpy.types.Material | None, image: bpy.types.Image
) -> list[bpy.types.ShaderNodeTexImage]:
    if material is None or material.node_tree is None:
        return []
    return [node for node in material.node_tree.nodes if node.type == "TEX_IMAGE" and node.image == image]
