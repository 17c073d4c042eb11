"""A finished mesh drawn again in quads by Blender's own remesher, its colours carried over.

V vertices · F faces.
"""

import bpy
import numpy as np
from mathutils.bvhtree import BVHTree

from ...faults import Fault
from ...scene.collection import SHARP_ANGLE
from ...scene.display.shading import renew_solid_colors
from ...scene.find_asset import (
    LINKED,
    asset_of_object,
    data_frame,
    is_local,
    own_asset,
    own_part,
    part,
    store_keys,
)
from ...scene.materials import COLOR_ATTRIBUTE, carry_materials, remove_unused, vertex_color_material
from ..widgets import in_object_mode, report


class TRELLIS_OT_make_quads(bpy.types.Operator):
    """Draw the finished mesh again in quads that follow its shape; a texture becomes colors of vertices"""

    bl_idname = "trellis.make_quads"
    bl_label = "Make Quads"
    bl_options = {"REGISTER", "UNDO"}

    faces: bpy.props.IntProperty(
        name="Quads", description="About so many quads", default=5000, min=50, soft_max=50_000, max=500_000
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the button is grey, where it is."""
        if own_part(context.object, "finished") is None:
            cls.poll_message_set("Select an asset with a finished mesh")
            return False
        collection = asset_of_object(context.object)
        if collection is not None and not is_local(collection):
            cls.poll_message_set(LINKED)
            return False
        return in_object_mode(cls, context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        collection = own_asset(context.object)
        assert collection is not None, "the operator's poll asks for it"
        item = part(collection, "finished")
        assert item is not None, "the operator's poll asks for it"
        try:
            make_quads(item, self.faces, context)
        except Fault as fault:
            report(self, "ERROR", str(fault))
            return {"CANCELLED"}
        renew_solid_colors()
        return {"FINISHED"}


def make_quads(item: bpy.types.Object, faces: int, context: bpy.types.Context) -> None:
    """Gives the object a mesh of about so many quads; Fault where the remesher finds none."""
    old = item.data
    work = bpy.data.objects.new(item.name, old.copy())
    context.scene.collection.objects.link(work)
    try:
        override = {"object": work, "active_object": work}
        override |= {"selected_objects": [work], "selected_editable_objects": [work]}
        with context.temp_override(**override):
            bpy.ops.object.quadriflow_remesh(
                use_mesh_symmetry=False, use_preserve_sharp=True, mode="FACES", target_faces=faces, seed=0
            )
        made = work.data
        if made.polygons and all(len(face.vertices) == 3 for face in made.polygons):
            raise Fault(
                "Blender found no quads for this mesh: finish it as Film, Game or Mobile, then try again."
            )
        _carry_colors(old, made)
        _carry_frame(old, made)
    except BaseException as error:
        failed = work.data
        bpy.data.objects.remove(work)
        bpy.data.meshes.remove(failed)
        if isinstance(error, RuntimeError):
            raise Fault(
                f"Blender could not make quads: {str(error).removeprefix('Error: ').strip()}"
            ) from error
        raise
    made.shade_smooth()
    made.set_sharp_from_angle(angle=SHARP_ANGLE)
    bpy.data.objects.remove(work)
    name = old.name
    old.user_remap(made)  # in linked duplicates too
    remove_unused(old)
    made.name = name


def _carry_frame(old: bpy.types.Mesh, made: bpy.types.Mesh) -> None:
    """Names the vertices, so that what is done to all of them at once moves the asset's frame too."""
    back = data_frame(old).inverted_safe()
    places = np.array([back @ vertex.co for vertex in made.vertices])
    store_keys(made, {"keys": np.arange(len(places)), "vertices": places}, "vertices")


def _carry_colors(old: bpy.types.Mesh, made: bpy.types.Mesh) -> None:
    """Colours of vertices from the nearest points of the old surface; the material shows them."""
    source = old.color_attributes.get(COLOR_ATTRIBUTE)
    if source is None or source.domain != "POINT":
        return
    places, colors = np.empty(3 * len(old.vertices), np.float32), np.empty(4 * len(old.vertices), np.float32)
    old.vertices.foreach_get("co", places)
    source.data.foreach_get("color", colors)
    places, colors = places.reshape(-1, 3), colors.reshape(-1, 4)
    old.calc_loop_triangles()
    triangles = np.empty(3 * len(old.loop_triangles), np.int32)
    old.loop_triangles.foreach_get("vertices", triangles)
    triangles = triangles.reshape(-1, 3)
    tree = BVHTree.FromPolygons(places.tolist(), triangles.tolist())
    found = [tree.find_nearest(vertex.co) for vertex in made.vertices]
    corners = triangles[[one[2] for one in found]]
    weights = _weights(np.array([one[0] for one in found]), places[corners])
    carried = np.einsum("vk,vkc->vc", weights, colors[corners]).astype(np.float32)
    attribute = made.color_attributes.get(COLOR_ATTRIBUTE)
    if attribute is not None:
        made.color_attributes.remove(attribute)
    attribute = made.color_attributes.new(COLOR_ATTRIBUTE, "FLOAT_COLOR", "POINT")
    attribute.data.foreach_set("color", carried.ravel())
    made.color_attributes.active_color = attribute
    made.color_attributes.render_color_index = made.color_attributes.find(COLOR_ATTRIBUTE)
    mean = tuple(float(channel) for channel in carried[:, :3].mean(axis=0))
    made.materials.clear()
    made.materials.append(vertex_color_material(made.name, mean))
    carry_materials(old, made)


def _weights(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentric weights (N, 3) of points (N, 3) on triangles (N, 3, 3)."""
    a, b, c = corners.transpose(1, 0, 2).astype(np.float64)
    areas = [np.cross(c - b, points - b), np.cross(a - c, points - c), np.cross(b - a, points - a)]
    sizes = np.stack([np.linalg.norm(one, axis=1) for one in areas], axis=1) + 1e-12
    return sizes / sizes.sum(axis=1, keepdims=True)


CLASSES = (TRELLIS_OT_make_quads,)
