"""glTF files as trimesh scenes, with the colours that the format's rules give to every vertex.

trimesh itself drops vertex colours beside a material, takes linear colours and 16-bit values for 8-bit sRGB,
and knows no fractions that are stored as integers (KHR_mesh_quantization). So such attributes get names of
their own before it parses the file: it hands on attributes of unknown names as stored.
Dims: V vertices · P places on faces.
"""

import importlib.util
import io
import json
import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import ArrayLike
from PIL import Image
from trimesh.resolvers import FilePathResolver
from trimesh.visual.material import PBRMaterial

from backend.errors import UserError
from backend.geometry.files.part import At, Part

SUFFIXES = (".glb", ".gltf")
_COLOR, _UV, _PLACE = "_COLOR", "_UV", "_PLACE"
_WHOLE_UV = "_WHOLE_UV"  # coordinates that are integers, made fractions by the texture's transformation
_SPECULAR = "KHR_materials_pbrSpecularGlossiness"
_DRACO, _MESHOPT = "KHR_draco_mesh_compression", "EXT_meshopt_compression"
_FLOAT = 5126  # the component type of single precision
_HEADER, _CHUNK = struct.Struct("<4sII"), struct.Struct("<I4s")


def read_gltf(path: Path) -> list[Part]:
    """Every placed mesh of a .glb or .gltf file; uv: those of the texture that gives it its colours.

    Raises UserError for a compression that no installed package reads.
    """
    data = path.read_bytes()
    binary = b""
    if data[:4] == b"glTF":
        length, _ = _CHUNK.unpack_from(data, _HEADER.size)
        start = _HEADER.size + _CHUNK.size
        data, binary = data[start : start + length], data[start + length :]
    document = json.loads(data)
    _check_compression(path, document)
    _rename_attributes(document)
    text = json.dumps(document).encode()
    if binary:
        text += b" " * (-len(text) % 4)
        start = _HEADER.size + _CHUNK.size
        text = (
            _HEADER.pack(b"glTF", 2, start + len(text) + len(binary))
            + _CHUNK.pack(len(text), b"JSON")
            + text
            + binary
        )
    scene = trimesh.load_scene(
        io.BytesIO(text),
        file_type="glb" if binary else "gltf",
        resolver=FilePathResolver(str(path)),
        process=False,
    )
    for mesh in scene.geometry.values():
        if isinstance(mesh, trimesh.Trimesh) and _PLACE in mesh.vertex_attributes:
            mesh.vertices = _unit_range(mesh.vertex_attributes[_PLACE])
    meshes = [mesh for mesh in scene.dump() if isinstance(mesh, trimesh.Trimesh)]
    return [
        Part(
            np.asarray(mesh.vertices),
            np.asarray(mesh.faces),
            _own_uv(mesh, document),
            partial(_colors, mesh, document),
        )
        for mesh in meshes
    ]


def _check_compression(path: Path, document: dict[str, Any]) -> None:
    required = document.get("extensionsRequired", [])
    if _DRACO in required and importlib.util.find_spec("DracoPy") is None:
        raise UserError(
            f"The mesh {path} is compressed with Draco; install the package DracoPy or export it plain."
        )
    if _MESHOPT in required:
        raise UserError(f"The mesh {path} is compressed with meshopt; export it uncompressed.")


def _rename_attributes(document: dict[str, Any]) -> None:
    """Give colours, texture coordinates and places in fractions names of their own, and materials their
    number as name.

    The older materials of specular and glossiness become plain ones of their diffuse colour.
    """
    materials = document.get("materials", [])
    for number, material in enumerate(materials):
        material["name"] = str(number)
        older = material.get("extensions", {}).pop(_SPECULAR, None)
        if older is not None:
            names = {"diffuseFactor": "baseColorFactor", "diffuseTexture": "baseColorTexture"}
            material["pbrMetallicRoughness"] = {new: older[old] for old, new in names.items() if old in older}
    accessors = document.get("accessors", [])
    for mesh in document.get("meshes", []):
        for primitive in mesh["primitives"]:
            material = materials[primitive["material"]] if "material" in primitive else {}
            uv = f"TEXCOORD_{_base_texture(material).get('texCoord', 0)}"
            stored = accessors[primitive["attributes"][uv]] if uv in primitive["attributes"] else {}
            whole = stored.get("componentType") != _FLOAT and not stored.get("normalized", False)
            names = {"COLOR_0": _COLOR, uv: _WHOLE_UV if whole else _UV}
            place = primitive["attributes"].get("POSITION")
            if place is not None and accessors[place].get("normalized", False):
                primitive["attributes"][_PLACE] = place
            packed = primitive.get("extensions", {}).get(_DRACO, {})
            for holder in (primitive, packed):
                attributes = holder.get("attributes", {})
                kept = {names.get(name, name): value for name, value in attributes.items()}
                kept.pop("TEXCOORD_0", None)
                if attributes:
                    holder["attributes"] = kept


def _base(material: dict[str, Any]) -> dict[str, Any]:
    return material.get("pbrMetallicRoughness", {})


def _base_texture(material: dict[str, Any]) -> dict[str, Any]:
    return _base(material).get("baseColorTexture", {})


def _own_uv(mesh: trimesh.Trimesh, document: dict[str, Any]) -> np.ndarray | None:
    uv = _uv(mesh)
    if uv is not None and _WHOLE_UV in mesh.vertex_attributes:
        uv = _transformed(uv, _base_texture(_material(mesh, document)))
    return None if uv is None else np.array([0.0, 1.0]) + uv * (1.0, -1.0)


def _uv(mesh: trimesh.Trimesh) -> np.ndarray | None:
    """(V, 2) as stored, origin in the upper left corner, before the texture's transformation."""
    found = mesh.vertex_attributes
    if _WHOLE_UV in found:
        return np.asarray(found[_WHOLE_UV], np.float64)
    return _unit_range(found[_UV]) if _UV in found else None


def _material(mesh: trimesh.Trimesh, document: dict[str, Any]) -> dict[str, Any]:
    """The mesh's, as stored; {} without."""
    name = getattr(getattr(mesh.visual, "material", None), "name", None)
    return {} if name is None else document["materials"][int(name)]


def _colors(mesh: trimesh.Trimesh, document: dict[str, Any], at: At) -> np.ndarray:
    """Colours (P, 3) u8 sRGB: COLOR_0 · baseColorFactor · texture, multiplied in linear light."""
    linear = np.ones((len(at(np.asarray(mesh.vertices))), 3))
    if _COLOR in mesh.vertex_attributes:
        linear *= at(_unit_range(mesh.vertex_attributes[_COLOR])[:, :3])
    material, uv = getattr(mesh.visual, "material", None), _uv(mesh)
    if isinstance(material, PBRMaterial) and material.name is not None:
        stored = _material(mesh, document)
        linear *= np.array(_base(stored).get("baseColorFactor", [1.0, 1.0, 1.0, 1.0]))[:3]
        if material.baseColorTexture is not None and uv is not None:
            placed = _transformed(at(uv), _base_texture(stored))
            linear *= _texture_colors(material.baseColorTexture, placed)
    return np.rint(_srgb_from_linear(linear.clip(0, 1)) * 255).astype(np.uint8)


def _transformed(uv: np.ndarray, texture: dict[str, Any]) -> np.ndarray:
    """Coordinates (V, 2) as the texture's KHR_texture_transform places them."""
    placed = texture.get("extensions", {}).get("KHR_texture_transform", {})
    angle, scale = placed.get("rotation", 0.0), np.array(placed.get("scale", [1.0, 1.0]))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (uv * scale) @ turn + np.array(placed.get("offset", [0.0, 0.0]))


def _texture_colors(image: Image.Image, uv: np.ndarray) -> np.ndarray:
    """Linear colours (V, 3) of the texels nearest to `uv` (V, 2), whose origin is the upper left corner."""
    texels = np.asarray(image.convert("RGB"), dtype=np.float64) / 255
    size = np.array([image.width, image.height])
    # The border itself belongs to the last texel; beyond it the texture repeats.
    inner = np.where((uv >= 0) & (uv <= 1), uv, uv % 1)
    column, row = np.minimum((inner * size).astype(int), size - 1).T
    return _linear_from_srgb(texels[row, column])


def _unit_range(values: ArrayLike) -> np.ndarray:
    """Stored values as floats; integers are fractions of their type's largest, −1 at least."""
    values = np.asarray(values)
    if values.dtype.kind not in "iu":
        return values.astype(np.float64)
    return np.maximum(values / np.iinfo(values.dtype).max, -1.0)


def _srgb_from_linear(color: np.ndarray) -> np.ndarray:
    return np.where(color <= 0.0031308, color * 12.92, 1.055 * color ** (1 / 2.4) - 0.055)


def _linear_from_srgb(color: np.ndarray) -> np.ndarray:
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
