"""A picture of an asset: what it was made from, the mesh from the front and from behind, and its Gaussians.

For scenes made without a user. Changes render settings, world and cameras of the scene that it is given.
"""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from mathutils import Euler, Vector

from ..srgb import srgb_from_linear
from .collection import show
from .display.colors import use_colors
from .gaussians.object import is_gaussian
from .gaussians.settings import raise_bounces

STUDIO = "TRELLIS Studio"
SPLAT_SAMPLES = 3
STRENGTH = 0.75  # of the background's light
BACKGROUND = (0.82, 0.84, 0.87)


@dataclass(frozen=True)
class View:
    """From where a preview shows an asset, and what of it."""

    shown: str  # as scene.show takes it
    azimuth: float  # degrees from the front (-Y) towards the right (+X)


def render_preview(
    collection: bpy.types.Collection,
    path: Path,
    size: int = 448,
    samples: int = 24,
    picture: bytes = b"",
) -> None:
    """Renders `collection` in the current scene with Cycles on the CPU; writes a PNG, views side by side.

    picture: the file of the picture that it was made from, which goes first where Blender can read it.
    """
    scene = bpy.context.scene
    _set_up(scene, size, samples)
    camera = _studio(scene, collection)
    tiles = picture_tile(picture, size)
    with tempfile.TemporaryDirectory() as folder:
        for number, view in enumerate(_views(collection)):
            show(collection, view.shown)
            # Splats are soft and cast no light about: few samples do, and each is dear.
            scene.cycles.samples = min(samples, SPLAT_SAMPLES) if view.shown == "gaussian" else samples
            _aim(camera, collection, view.azimuth)
            tiles.append(_render(scene, Path(folder) / f"{number}.png"))
    show(collection, _views(collection)[0].shown)
    _aim(camera, collection, _views(collection)[0].azimuth)
    _write_png(np.concatenate(tiles, axis=1), path)


def picture_tile(picture: bytes, size: int) -> list[np.ndarray]:
    """A picture file in a square (size, size, 4), rows from the bottom up; none where it cannot be."""
    if not picture:
        return []
    image = bpy.data.images.new("preview", 1, 1)
    try:
        image.pack(data=picture, data_len=len(picture))
        image.source = "FILE"
        longest = max(image.size)
        if longest == 0:
            return []
        image.scale(*(max(1, round(side * size / longest)) for side in image.size))
        width, height = image.size
        pixels = np.empty(4 * width * height, np.float32)
        image.pixels.foreach_get(pixels)
    finally:
        bpy.data.images.remove(image)
    shown = pixels.reshape(height, width, 4)
    tile = np.ones((size, size, 4), np.float32)
    tile[..., :3] = srgb_from_linear(STRENGTH * np.array(BACKGROUND))
    low, left = (size - height) // 2, (size - width) // 2
    part = tile[low : low + height, left : left + width, :3]
    part += shown[..., 3:] * (shown[..., :3] - part)
    return [tile]


def _views(collection: bpy.types.Collection) -> tuple[View, ...]:
    has_gaussian = any(is_gaussian(item) for item in collection.objects)
    has_mesh = any(item.type == "MESH" and not is_gaussian(item) for item in collection.objects)
    mesh = (View("mesh", 35.0), View("mesh", 215.0)) if has_mesh else ()
    gaussian = (View("gaussian", 35.0),) if has_mesh else (View("gaussian", 35.0), View("gaussian", 215.0))
    return mesh + (gaussian if has_gaussian else ())


def _set_up(scene: bpy.types.Scene, size: int, samples: int) -> None:
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = samples
    raise_bounces(scene)
    scene.cycles.adaptive_threshold = 0.05
    scene.cycles.use_denoising = False  # not every build has the denoiser, and without it a render fails
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.resolution_percentage = 100
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGB"
    use_colors(scene, "STANDARD")
    world = bpy.data.worlds.new(STUDIO)
    if world.node_tree is None:
        world.use_nodes = True
    shader = next(node for node in world.node_tree.nodes if node.type == "BACKGROUND")
    shader.inputs["Color"].default_value = (*BACKGROUND, 1.0)
    shader.inputs["Strength"].default_value = STRENGTH
    scene.world = world


def _studio(scene: bpy.types.Scene, collection: bpy.types.Collection) -> bpy.types.Object:
    """Adds a camera and two suns in a collection of their own. Returns the camera."""
    studio = bpy.data.collections.new(STUDIO)
    scene.collection.children.link(studio)
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.lens = 85.0
    for name, strength, euler in (("Key", 2.2, (0.75, 0.0, 0.75)), ("Rim", 1.0, (0.9, 0.0, 3.6))):
        sun = bpy.data.lights.new(name, "SUN")
        sun.energy, sun.angle = strength, math.radians(12.0)
        light = bpy.data.objects.new(name, sun)
        light.rotation_euler = Euler(euler)
        studio.objects.link(light)
    studio.objects.link(camera)
    scene.camera = camera
    return camera


def _aim(camera: bpy.types.Object, collection: bpy.types.Collection, azimuth: float) -> None:
    bpy.context.view_layer.update()
    center, radius = _bounds(collection)
    turn, lift = math.radians(azimuth), math.radians(22.0)
    toward = Vector((math.sin(turn) * math.cos(lift), -math.cos(turn) * math.cos(lift), math.sin(lift)))
    distance = 0.9 * radius / math.sin(camera.data.angle / 2)
    camera.location = center + distance * toward
    camera.rotation_euler = (-toward).to_track_quat("-Z", "Y").to_euler()
    camera.data.clip_end = 10 * distance


def _bounds(collection: bpy.types.Collection) -> tuple[Vector, float]:
    """Centre and radius of a sphere around all that the collection shows."""
    visible = [item for item in collection.objects if item.type == "MESH" and not item.hide_viewport]
    corners = [item.matrix_world @ Vector(corner) for item in visible for corner in item.bound_box]
    low = Vector(min(corner[axis] for corner in corners) for axis in range(3))
    high = Vector(max(corner[axis] for corner in corners) for axis in range(3))
    return (low + high) / 2, max((high - low).length / 2, 1e-3)


def _render(scene: bpy.types.Scene, path: Path) -> np.ndarray:
    """The rendered image, rows from the bottom up, (size, size, 4), values as a screen shows them."""
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path))
    pixels = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(pixels)
    width, height = image.size
    bpy.data.images.remove(image)
    return pixels.reshape(height, width, 4)


def _write_png(pixels: np.ndarray, path: Path) -> None:
    height, width = pixels.shape[:2]
    image = bpy.data.images.new(path.stem, width, height)
    image.pixels.foreach_set(np.ascontiguousarray(pixels, np.float32).ravel())
    image.file_format = "PNG"
    image.save(filepath=str(path))
    bpy.data.images.remove(image)
