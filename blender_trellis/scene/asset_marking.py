"""Marks an asset's collection for Blender's Asset Browser: who made it of what, tags, and a picture."""

import json
import re
from dataclasses import dataclass

import bpy
import numpy as np

from .find_asset import ASSET, is_local, part, world_matrix

TAG = "TRELLIS"
FOOT = "trellis_foot"  # of a collection: the offset of instances that was set here
LONGEST = 60  # of a text in Blender's asset data, in characters, some of which take four bytes of 255
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class AssetMarks:
    """What the Asset Browser shows of an asset; `catalog` is the UUID of its catalogue, or empty."""

    author: str = ""
    license: str = ""
    tags: tuple[str, ...] = ()
    catalog: str = ""


def mark_asset(collection: bpy.types.Collection, marks: AssetMarks, picture: np.ndarray) -> None:
    """Makes the collection an asset, or renews its marks.

    `picture`: (size, size, 4) sRGB and alpha in [0, 1], lowest row first, as meshes/thumbnail.py draws it.
    An instance of the collection stands with its foot where it is dropped.
    """
    if collection.asset_data is None:
        collection.asset_mark()
    data = collection.asset_data
    data.author, data.license = marks.author[:LONGEST], marks.license[:LONGEST]
    data.description = made_from(collection)
    if _UUID.fullmatch(marks.catalog):
        data.catalog_id = marks.catalog
    for tag in list(data.tags):
        data.tags.remove(tag)
    model = str(collection.get("trellis_model", ""))
    for name in dict.fromkeys((TAG, model, *marks.tags)):
        if name.strip():
            data.tags.new(name.strip()[:LONGEST], skip_if_exists=True)
    bpy.context.view_layer.update()  # it may have come or been moved just now
    _stand_on_foot(collection)
    set_preview(collection, picture)


def renew_feet() -> None:
    """Lets instances of marked assets stand on their foot where assets were moved since; an offset of the
    artist's own stays."""
    for collection in bpy.data.collections:
        if collection.asset_data is not None and ASSET in collection and is_local(collection):
            if tuple(collection.get(FOOT, collection.instance_offset)) == tuple(collection.instance_offset):
                _stand_on_foot(collection)


def _stand_on_foot(collection: bpy.types.Collection) -> None:
    root = part(collection, "root")
    if root is not None:
        collection.instance_offset = world_matrix(root).translation
        collection[FOOT] = tuple(collection.instance_offset)


def set_preview(block: bpy.types.ID, picture: np.ndarray) -> None:
    """Gives a datablock this picture, laid out as `mark_asset` says. Needs no window."""
    preview = block.preview_ensure()
    preview.image_size = (picture.shape[1], picture.shape[0])
    preview.image_pixels_float.foreach_set(np.ascontiguousarray(picture, np.float32).ravel())


def made_from(collection: bpy.types.Collection) -> str:
    """One line: what the asset was made from, by which model and with which seed."""
    history = json.loads(collection.get("trellis_history", "[]"))
    last = history[-1] if history else {}
    said = [f'"{last["prompt"]}"'] if last.get("prompt") else list(map(str, last.get("picture_names", ())))
    words = [f"Made from {', '.join(said)}" if said else "Made"]
    words += [f"with {name}" for name in (str(collection.get("trellis_model", "")),) if name]
    words += [f"seed {last['seed']}"] if "seed" in last else []
    version = collection.get("trellis_version", "")
    return (
        f"{' '.join(words[:2])}{''.join(f', {word}' for word in words[2:])} (TRELLIS for Blender {version})"
    )
