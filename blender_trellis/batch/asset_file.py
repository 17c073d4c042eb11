"""An asset to start from, of any file: its latents, or a mesh that Blender opens."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy

from ..faults import Fault
from ..meshes.source import MeshSource, has_surface, read_objects
from ..scene.asset import StoredLatents
from ..scene.export import operator_reason
from ..scene.find_asset import ASSET
from ..scene.latents import read_latents as stored_latents
from .latents_file import SUFFIX, read_latents

SUFFIXES = (".blend", ".glb", ".gltf", ".obj", ".ply", ".stl", ".fbx")


def read_asset(path: Path) -> StoredLatents | MeshSource:
    """Latents of a file of them or of the asset in a .blend; of all else the meshes, joined. Raises Fault.

    Blender's scene is another one afterwards.
    """
    if path.name.endswith(SUFFIX):
        return read_latents(path)
    if path.suffix.lower() not in SUFFIXES:
        raise Fault(
            f'"{path}" is no asset that can be opened: give NAME{SUFFIX}, or one of {", ".join(SUFFIXES)}.'
        )
    if not os.path.isfile(path):
        raise Fault(f'The asset "{path}" does not exist or is no file: choose another one.')
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with _opening(path):
        _open(path)
    assets = _assets()
    if len(assets) > 1:
        raise Fault(f'There are {len(assets)} assets in "{path}": save the one that is meant by itself.')
    if assets:
        return stored_latents(assets[0])
    objects = [item for item in bpy.context.scene.objects if has_surface(item)]
    if not objects:
        raise Fault(f'There is no mesh in "{path}": choose another file.')
    return read_objects(objects, bpy.context.evaluated_depsgraph_get())


def open_asset(path: Path) -> bpy.types.Collection | None:
    """The only asset of a .blend, which is open afterwards; None where it holds none or several. Fault where
    it cannot be opened.
    """
    with _opening(path):
        bpy.ops.wm.open_mainfile(filepath=str(path), load_ui=False, use_scripts=False)
    assets = _assets()
    return assets[0] if len(assets) == 1 else None


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    """Tells why Blender cannot open a file as a Fault."""
    try:
        yield
    except RuntimeError as error:
        raise Fault(f'"{path}" cannot be opened ({operator_reason(error)}): choose another file.') from error


def _assets() -> list[bpy.types.Collection]:
    """Those of the open scene, without former versions."""
    every = bpy.context.scene.collection.children_recursive
    return [one for one in every if ASSET in one and not one.hide_viewport]


def _open(path: Path) -> None:
    name = str(path)
    match path.suffix.lower():
        case ".blend":
            bpy.ops.wm.open_mainfile(filepath=name, load_ui=False, use_scripts=False)
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
