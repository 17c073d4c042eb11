"""A picture of an asset to paint over: seen from where its own picture shows it, without background."""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy
from mathutils import Vector

from ..scene.materials import COLOR_ATTRIBUTE

PIXELS = 1024
FIELD_OF_VIEW = math.radians(40)
RADIUS = math.sqrt(0.75)  # of a sphere round the unit cube
DISTANCE = RADIUS / math.sin(FIELD_OF_VIEW / 2)  # from there the sphere fills the picture


def render_to_paint(mesh: bpy.types.Mesh, name: str, height: float) -> bpy.types.Image:
    """A packed image of the mesh in its own frame, seen from its front (-Y) and above by the angle `height`.

    Rendered by Workbench with the vertex colors, in a scene of its own that is gone afterwards.
    """
    with tempfile.TemporaryDirectory() as folder, _studio(mesh, height) as scene:
        path = Path(folder) / "asset.png"
        scene.render.filepath = str(path)
        bpy.ops.render.render(write_still=True, scene=scene.name)
        image = bpy.data.images.load(str(path))
        image.pack()
    image.name = name
    image.filepath_raw = ""  # the file is gone; the image lives in the .blend
    return image


@contextmanager
def _studio(mesh: bpy.types.Mesh, height: float) -> Iterator[bpy.types.Scene]:
    made: list[bpy.types.ID] = []
    try:
        scene = bpy.data.scenes.new("TRELLIS Painting")
        made.append(scene)
        camera = bpy.data.cameras.new("TRELLIS Painting")
        made.append(camera)
        camera.angle, camera.clip_end = FIELD_OF_VIEW, 10 * DISTANCE
        viewer = bpy.data.objects.new("TRELLIS Painting", camera)
        made.append(viewer)
        shown = bpy.data.objects.new(
            "TRELLIS Painting", mesh
        )  # not the asset's object: its place is the artist's
        made.append(shown)
        for item in (viewer, shown):
            scene.collection.objects.link(item)
        toward = Vector((0.0, -math.cos(height), math.sin(height)))
        viewer.location = DISTANCE * toward
        viewer.rotation_euler = (-toward).to_track_quat("-Z", "Y").to_euler()
        scene.camera = viewer
        _set_up(scene, COLOR_ATTRIBUTE in mesh.color_attributes)
        yield scene
    finally:
        bpy.data.batch_remove(made)


def _set_up(scene: bpy.types.Scene, colored: bool) -> None:
    scene.render.engine = "BLENDER_WORKBENCH"
    scene.render.resolution_x = scene.render.resolution_y = PIXELS
    scene.render.resolution_percentage = 100
    scene.render.film_transparent = True
    settings = scene.render.image_settings
    settings.file_format, settings.color_mode = "PNG", "RGBA"
    scene.view_settings.view_transform = "Standard"
    shading = scene.display.shading
    shading.light = "STUDIO"
    shading.color_type = "VERTEX" if colored else "MATERIAL"
    shading.show_specular_highlight = False
