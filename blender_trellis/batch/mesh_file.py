"""Any mesh file that Blender opens, as a mesh to start from."""

from pathlib import Path

import bpy

from ..faults import Fault
from ..meshes.source import MeshSource, has_surface, read_objects
from ..scene.export import operator_reason

SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".fbx")


def read_mesh(path: Path) -> MeshSource:
    """Everything in the file, joined, in the frame that Blender gives it. Fault where that is no mesh."""
    if path.suffix.lower() not in SUFFIXES:
        raise Fault(
            f'"{path}" is no asset that can be opened: give NAME.latents.safetensors, or a mesh file '
            f"({', '.join(SUFFIXES)})."
        )
    if not path.is_file():
        raise Fault(f'The asset "{path}" does not exist or is no file: choose another one.')
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    try:
        _import(path)
    except RuntimeError as error:
        raise Fault(f'"{path}" cannot be opened ({operator_reason(error)}): choose another file.') from error
    objects = [item for item in bpy.context.scene.objects if has_surface(item)]
    if not objects:
        raise Fault(f'There is no mesh in "{path}": choose another file.')
    return read_objects(objects, bpy.context.evaluated_depsgraph_get())


def _import(path: Path) -> None:
    name = str(path)
    match path.suffix.lower():
        case ".glb" | ".gltf":
            bpy.ops.import_scene.gltf(filepath=name)
        case ".fbx":
            bpy.ops.import_scene.fbx(filepath=name)
        case ".obj":
            bpy.ops.wm.obj_import(filepath=name)
        case ".ply":
            bpy.ops.wm.ply_import(filepath=name)
        case ".stl":
            bpy.ops.wm.stl_import(filepath=name)
