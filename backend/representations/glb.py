"""A mesh as a binary glTF 2.0 file (.glb): y up, one material, normals at the vertices, colours there or
in a texture.
"""

import io
import json
import struct
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from backend.errors import UserError
from backend.files import write_bytes
from backend.representations.mesh import Mesh, TexturedMesh, vertex_normals
from backend.representations.sharp_edges import cut_at_sharp_edges

_FLOAT, _UINT = 5126, 5125
_VERTEX_BUFFER, _INDEX_BUFFER = 34962, 34963
_LINEAR, _MIPMAPS = 9729, 9987
_MATERIAL = {
    "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0},
    "doubleSided": True,
}


Place = tuple[float, float, float]
"""Where a mesh stands, z up: far off, single precision would round its vertices."""
_HERE = (0.0, 0.0, 0.0)


def write_glb(path: Path, mesh: Mesh, sharp: bool = False, place: Place = _HERE) -> None:
    """Write `mesh`, turned from z up to the y up of glTF; UserError if it has no faces.

    `sharp`: normals break at sharp edges, where vertices are doubled for that.
    """
    if len(mesh.faces) == 0:
        raise UserError(
            "The mesh has no faces, so there is nothing to write; start from another picture or other words."
        )
    write_bytes(path, glb_bytes(mesh, sharp, place))


def glb_bytes(mesh: Mesh, sharp: bool = False, place: Place = _HERE) -> bytes:
    """The file's content."""
    mesh, normals = cut_at_sharp_edges(mesh) if sharp else (mesh, vertex_normals(mesh))
    attributes = {"POSITION": to_y_up(mesh.vertices), "NORMAL": to_y_up(normals)}
    if mesh.colors is not None:
        attributes["COLOR_0"] = linear_from_srgb(mesh.colors.clamp(0, 1))
    parts = [values.detach().cpu().numpy().astype("<f4") for values in attributes.values()]
    parts.append(_indices(mesh.faces))
    document = _document(list(attributes), parts, place)
    written = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    return _container(written, b"".join(part.tobytes() for part in parts))


def write_textured_glb(path: Path, mesh: TexturedMesh, encoding: str = "png", place: Place = _HERE) -> None:
    """Write a mesh with its texture, stored as "png", "jpeg" or "webp" inside the file."""
    write_bytes(path, textured_glb_bytes(mesh, encoding, place))


def textured_glb_bytes(mesh: TexturedMesh, encoding: str = "png", place: Place = _HERE) -> bytes:
    """The file's content; a WebP image needs a reader that knows EXT_texture_webp."""
    flipped = torch.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], dim=1)
    attributes = {
        "POSITION": to_y_up(mesh.vertices),
        "NORMAL": to_y_up(mesh.normals),
        "TEXCOORD_0": flipped,
    }
    parts = [values.detach().cpu().numpy().astype("<f4") for values in attributes.values()]
    parts.append(_indices(mesh.faces))
    image = image_bytes(mesh.image, encoding)
    document = _document(list(attributes), parts, place)
    _add_texture(document, len(image), encoding, mesh.roughness, mesh.metallic)
    written = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    return _container(written, b"".join([*(part.tobytes() for part in parts), image]))


def image_bytes(image: np.ndarray, encoding: str) -> bytes:
    """An image (S, S, 3) u8 as the content of a file: "png", "jpeg" or "webp"."""
    stored = io.BytesIO()
    options: dict[str, int | bool] = {
        "png": {"compress_level": 3},
        "jpeg": {"quality": 92, "subsampling": 0},
    }.get(encoding, {"quality": 92})
    Image.fromarray(image).save(stored, encoding, **options)
    return stored.getvalue()


def _add_texture(document: dict, length: int, encoding: str, roughness: float, metallic: float) -> None:
    """The texture's entries; its bytes follow the arrays, whose lengths are multiples of four."""
    buffer = document["buffers"][0]
    document["images"] = [{"bufferView": len(document["bufferViews"]), "mimeType": f"image/{encoding}"}]
    document["bufferViews"].append({"buffer": 0, "byteOffset": buffer["byteLength"], "byteLength": length})
    buffer["byteLength"] += length
    texture: dict = {"sampler": 0, "source": 0}
    if encoding == "webp":
        texture = {"sampler": 0, "extensions": {"EXT_texture_webp": {"source": 0}}}
        document["extensionsUsed"] = document["extensionsRequired"] = ["EXT_texture_webp"]
    document["textures"] = [texture]
    document["samplers"] = [{"magFilter": _LINEAR, "minFilter": _MIPMAPS}]
    document["materials"][0]["pbrMetallicRoughness"] = {
        "baseColorTexture": {"index": 0},
        "metallicFactor": metallic,
        "roughnessFactor": roughness,
    }


def linear_from_srgb(color: torch.Tensor) -> torch.Tensor:
    """Linear light from sRGB-encoded values, both in [0, 1]; glTF wants vertex colours linear."""
    return torch.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def to_y_up(vectors: torch.Tensor) -> torch.Tensor:
    """Vectors (V, 3) with z up turned to y up: (x, y, z) to (x, z, -y)."""
    x, y, z = vectors.unbind(-1)
    return torch.stack([x, z, -y], dim=-1)


def _document(names: list[str], parts: list[np.ndarray], place: Place) -> dict:
    """The JSON part; every array is packed and of 4-byte values, so all offsets are aligned."""
    views, accessors, offset = [], [], 0
    for number, part in enumerate(parts):
        is_index = number == len(names)
        target = _INDEX_BUFFER if is_index else _VERTEX_BUFFER
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": part.nbytes, "target": target})
        kind, component = ("SCALAR", _UINT) if is_index else (f"VEC{part.shape[1]}", _FLOAT)
        accessor = {"bufferView": number, "componentType": component, "count": len(part), "type": kind}
        if number == 0:
            # The bounds are required, and exactly those of the float32 values in the file.
            accessor |= {"min": part.min(0).tolist(), "max": part.max(0).tolist()}
        accessors.append(accessor)
        offset += part.nbytes
    attributes = {name: number for number, name in enumerate(names)}
    node: dict = {"mesh": 0, "name": "TRELLIS"}
    if any(place):
        x, y, z = place
        node["translation"] = [x, z, -y]
    primitive = {"attributes": attributes, "indices": len(names), "material": 0, "mode": 4}
    return {
        "asset": {"version": "2.0", "generator": "blender-trellis"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [node],
        "meshes": [{"name": "TRELLIS", "primitives": [primitive]}],
        "materials": [{"name": "TRELLIS", **_MATERIAL}],
        "buffers": [{"byteLength": offset}],
        "bufferViews": views,
        "accessors": accessors,
    }


def _indices(faces: torch.Tensor) -> np.ndarray:
    """Corners u4 (3·F,) of the faces (F, 3), without those that name a vertex twice: nothing is drawn of
    them, and validators complain. They are kept where there are no others, for a file must have faces.
    """
    a, b, c = faces.unbind(1)
    drawn = (a != b) & (b != c) & (c != a)
    return (faces[drawn] if drawn.any() else faces).cpu().numpy().astype("<u4").reshape(-1)


def _container(document: bytes, binary: bytes) -> bytes:
    document += b" " * (-len(document) % 4)
    binary += b"\0" * (-len(binary) % 4)
    header = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(document) + 8 + len(binary))
    chunks = struct.pack("<I4s", len(document), b"JSON") + document
    return header + chunks + struct.pack("<I4s", len(binary), b"BIN\0") + binary
