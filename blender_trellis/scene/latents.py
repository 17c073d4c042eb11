"""What an asset was made of and from, kept with it in the .blend: latents, request, pictures.

The bytes lie in a custom property of a mesh without vertices that the collection and its objects point to.
Such a pointer counts as a user: the mesh is saved, appended with whatever points to it, and not purged.
Copies of an object share it, where bytes on the object itself would be copied with it at every change that is
drawn. Undo compares it by chunks, and nobody sees it, as texts are seen in editors. Pictures are images,
packed: the artist can look at them and use them.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Iterable
from typing import Any

import bpy
import numpy as np

from ..faults import Fault
from .asset import Arrays, StoredLatents
from .find_asset import members

DATA = "trellis_data"  # on collection and objects: the mesh without vertices
LATENTS, REQUEST = "trellis_latents", "trellis_request"  # on that mesh
PICTURE, GUIDE = "trellis_picture_", "trellis_guide_"  # and a number: the asset's own, those of the last edit
LAYOUT = {"structure_latent": ("f4", 4), "occupied": ("u1", 1), "coords": ("i4", 2), "feats": ("f4", 2)}
LAYERS = {"source": ("u1", 2), "layer_sizes": ("i4", 1), "layer_coords": ("i4", 2), "layer_feats": ("f4", 2)}
OUTLINES = {"outline_alpha": ("u1", 3), "outline_view": ("f4", 2)}
SOLID = {"within": ("u1", 1)}
BESIDES = LAYERS | OUTLINES | SOLID  # what some assets have, all of each or none
MOST_PICTURES = 64
# What numpy and zipfile raise over bytes that are no whole .npz, and what _check does.
DAMAGED = (
    ValueError,
    KeyError,
    TypeError,
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
)


def store_latents(collection: bpy.types.Collection, latents: StoredLatents) -> None:
    """Keeps the latents with the asset: the collection and its objects."""
    _store(collection, LATENTS, packed(latents))


def read_latents(collection: bpy.types.ID) -> StoredLatents:
    """The latents that are kept with an asset. Fault where there are none, or where they are damaged."""
    stored = _stored(collection, LATENTS)
    if not isinstance(stored, bytes):
        raise Fault(
            f'"{collection.name}" does not carry the data that edits start from: generate it again, or '
            "encode its mesh."
        )
    try:
        return unpacked(stored)
    except DAMAGED as error:
        raise Fault(
            f'The data that edits of "{collection.name}" start from are damaged ({error}): undo, or generate '
            "it again."
        ) from error


def store_request(collection: bpy.types.Collection, request: bytes) -> None:
    """Keeps the message that the asset was asked for with."""
    _store(collection, REQUEST, request)


def read_request(holder: bpy.types.ID) -> bytes:
    """The message that the asset was asked for with; empty where none is kept."""
    stored = _stored(holder, REQUEST)
    return stored if isinstance(stored, bytes) else b""


def packed(latents: StoredLatents) -> bytes:
    """The latents as a compressed .npz."""
    about = {
        "resolution": latents.resolution,
        "structure_resolution": latents.structure_resolution,
        "model": latents.model,
        "model_hash": latents.model_hash,
    }
    file = io.BytesIO()
    arrays: dict[str, Any] = {
        name: np.asarray(latents.arrays[name], f"<{dtype}")
        for name, (dtype, _) in (LAYOUT | BESIDES).items()
        if name in latents.arrays
    }
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def unpacked(stored: bytes) -> StoredLatents:
    """What `packed` made. ValueError and those of zip files where the bytes are not that."""
    with np.load(io.BytesIO(stored), allow_pickle=False) as file:
        about = json.loads(file["about"].tobytes())
        names = (
            *LAYOUT,
            *(LAYERS if "source" in file else ()),
            *(OUTLINES if "outline_alpha" in file else ()),
            *(SOLID if "within" in file else ()),
        )
        arrays: dict[str, Any] = {name: file[name] for name in names}
    latents = StoredLatents(arrays=arrays, **about)
    _check(arrays, latents.resolution, latents.structure_resolution)
    return latents


def _check(arrays: Arrays, resolution: int, structure_resolution: int) -> None:
    for name, (dtype, axes) in (LAYOUT | BESIDES).items():
        if name in BESIDES and name not in arrays:
            continue
        found = arrays[name]
        if found.dtype != np.dtype(dtype) or found.ndim != axes or not found.size:
            raise ValueError(f"{name} is {found.dtype} {found.shape}")
        if not np.isfinite(found).all():
            raise ValueError(f"{name} holds values that are not finite")
    coords, rows = arrays["coords"], len(arrays["feats"])
    if coords.shape != (rows, 3) or coords.min() < 0 or coords.max() >= resolution:
        raise ValueError(f"{len(coords)} voxels with {rows} latents in {resolution}³")
    if len(arrays["occupied"]) != (structure_resolution**3 + 7) // 8:
        raise ValueError(f"{len(arrays['occupied'])} bytes of occupancy for {structure_resolution}³")
    if "within" in arrays and len(arrays["within"]) != (resolution**3 + 7) // 8:
        raise ValueError(f"{len(arrays['within'])} bytes of a solid in {resolution}³")


# ---- pictures ---------------------------------------------------------------------------------------------


def store_pictures(
    collection: bpy.types.Collection, pictures: Iterable[tuple[str, bytes]], kind: str = PICTURE
) -> None:
    """Keeps pictures with the asset as packed images, instead of those of this kind that were kept before."""
    images = [_image(name, data) for name, data in pictures]
    for owner in owners(collection):
        for number in range(MOST_PICTURES):
            owner.pop(f"{kind}{number}", None)
        for number, image in enumerate(images):
            owner[f"{kind}{number}"] = image


def read_pictures(holder: bpy.types.ID, kind: str = PICTURE) -> tuple[tuple[str, bytes], ...]:
    """Name and file of each picture that is kept with the asset, as it was read; none where none are."""
    found = []
    for number in range(MOST_PICTURES):
        held = (owner.get(f"{kind}{number}") for owner in owners(holder))
        image = next(filter(None, held), None)
        if image is None or image.packed_file is None:
            break
        found.append((str(image.get("trellis_name", image.name)), bytes(image.packed_file.data)))
    return tuple(found)


def _image(name: str, data: bytes) -> bpy.types.Image:
    """The packed image of a file, the one that is there already where there is one."""
    for image in bpy.data.images:
        if image.get("trellis_name") == name and image.packed_file is not None and image.library is None:
            if not image.is_dirty and bytes(image.packed_file.data) == data:
                return image
    image = bpy.data.images.new(name, 1, 1)
    image.pack(data=data, data_len=len(data))
    image.source = "FILE"
    image["trellis_name"] = name  # the datablock's own may be cut off or get a number
    return image


# ---- who points to it -------------------------------------------------------------------------------------


def owners(holder: bpy.types.ID) -> tuple[bpy.types.ID, ...]:
    """A collection and the objects of its asset, each of which carries all that belongs to the asset; of an
    object, it alone."""
    if isinstance(holder, bpy.types.Object):
        return (holder,)
    return (holder, *members(holder))


def _store(collection: bpy.types.Collection, name: str, value: bytes) -> None:
    holder = _data(collection)
    holder.pop(name, None)  # bytes set in the place of others end at their first zero
    holder[name] = value


def _stored(holder: bpy.types.ID, name: str) -> object:
    carriers = (owner.get(DATA) for owner in owners(holder))
    return next((one[name] for one in carriers if one is not None and name in one), None)


def _data(collection: bpy.types.Collection) -> bpy.types.Mesh:
    """The carrier that this asset alone points to; a copy of it where others do too."""
    held = collection.get(DATA)
    mine = owners(collection)
    if held is not None and held.library is None and held.users <= sum(one.get(DATA) == held for one in mine):
        return held
    fresh = held.copy() if held is not None else bpy.data.meshes.new(f"{collection.name} Data")
    for owner in mine:
        owner[DATA] = fresh
    return fresh
