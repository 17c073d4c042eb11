"""The files that an asset's mesh can be saved as, and Blender's operator behind each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import addon_utils
import bpy

from ...faults import Fault

MILLIMETRES = 1000.0  # in a metre: slicers take the numbers of a file as millimetres


@dataclass(frozen=True)
class FileKind:
    """write(path, images) saves the selected objects. packed: whether it takes images out of the .blend
    itself; for the others they lie beside the file."""

    label: str
    description: str
    suffix: str
    write: Callable[[Path, str], object]
    packed: bool = True


def _gltf(container: str) -> Callable[[Path, str], object]:
    def write(path: Path, images: str) -> object:
        if not hasattr(bpy.types, "EXPORT_SCENE_OT_gltf"):  # switched off in the user's preferences
            addon_utils.enable("io_scene_gltf2")
        chosen = list(bpy.context.view_layer.objects.selected)
        return bpy.ops.export_scene.gltf(
            filepath=str(path),
            export_format=container,
            export_image_format=images,
            use_selection=True,
            export_yup=True,
            # As the other kinds of file have them; the exporter leaves shape keys out where it does so.
            export_apply=not any(item.type == "MESH" and item.data.shape_keys for item in chosen),
            export_extras=True,
        )

    return write


def _usd(path: Path, images: str) -> object:
    options = bpy.ops.wm.usd_export.get_rna_type().properties
    copied = (
        {"export_textures_mode": "NEW"} if "export_textures_mode" in options else {"export_textures": True}
    )
    return bpy.ops.wm.usd_export(
        filepath=str(path),
        selected_objects_only=True,
        relative_paths=True,
        export_animation=False,
        overwrite_textures=True,
        **copied,
    )


def _fbx(path: Path, images: str) -> object:
    if not hasattr(bpy.types, "EXPORT_SCENE_OT_fbx"):
        addon_utils.enable("io_scene_fbx")
    return bpy.ops.export_scene.fbx(
        filepath=str(path),
        use_selection=True,
        object_types={"MESH"},
        path_mode="COPY",
        embed_textures=True,
        colors_type="SRGB",
        mesh_smooth_type="FACE",
        bake_anim=False,
    )


def _obj(path: Path, images: str) -> object:
    return bpy.ops.wm.obj_export(
        filepath=str(path),
        export_selected_objects=True,
        path_mode="STRIP",  # images lie beside the file; a relative path of a packed one leads to the root
        export_colors=True,
        export_pbr_extensions=True,
    )


def _stl(path: Path, images: str) -> object:
    return bpy.ops.wm.stl_export(
        filepath=str(path),
        export_selected_objects=True,
        global_scale=MILLIMETRES * bpy.context.scene.unit_settings.scale_length,
        apply_modifiers=True,
    )


def _3mf(path: Path, images: str) -> object:
    if "threemf" not in dir(bpy.ops.export_mesh):
        raise Fault(
            "Blender writes no 3MF files by itself: install an extension for 3MF from extensions.blender.org "
            "or save an STL file, which every slicer reads as well."
        )
    return bpy.ops.export_mesh.threemf(filepath=str(path), use_selection=True)


KINDS: dict[str, FileKind] = {
    "GLB": FileKind("glTF Binary", "One file for games, the web and most programs", ".glb", _gltf("GLB")),
    "GLTF": FileKind(
        "glTF with Images", "Text, numbers and images in separate files", ".gltf", _gltf("GLTF_SEPARATE")
    ),
    "USD": FileKind("USD", "For film and Apple's programs", ".usdc", _usd),
    "FBX": FileKind("FBX", "For Unity, Unreal and Autodesk's programs", ".fbx", _fbx, packed=False),
    "OBJ": FileKind("OBJ", "For every program, with its image beside it", ".obj", _obj, packed=False),
    "STL": FileKind("STL", "For 3D printing: the shape alone, in millimeters", ".stl", _stl),
    "3MF": FileKind("3MF", "For 3D printing, by an extension", ".3mf", _3mf),
}
IMAGES = {"AUTO": "PNG", "JPEG": "JPEG", "WEBP": "WebP"}
"""How Blender's exporter calls the images in a glTF file -> what people call them."""
