"""What a glTF file holds besides its meshes: buffers, accessors, images and nodes. V values."""

import base64
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import numpy as np

from backend.geometry.files.part import read_beside
from backend.geometry.files.texture import REPEAT, Texture, open_texture

_HEADER, _CHUNK = struct.Struct("<4sII"), struct.Struct("<I4s")
_KINDS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_IMAGES = ("EXT_texture_webp", "EXT_texture_avif")
"""Extensions of textures that name another image, which Pillow opens."""
_KTX2 = "KHR_texture_basisu"
"""The same, which is read of none; where a texture has no other image, this one is named."""


@dataclass
class Document:
    """A file's JSON, and the binary chunk of a .glb file."""

    path: Path
    json: dict[str, Any]
    binary: bytes = b""
    _buffers: dict[int, bytes] = field(default_factory=dict)
    _textures: dict[int, Texture | None] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> "Document":
        """The document of a .glb or .gltf file."""
        data, binary = path.read_bytes(), b""
        if data[:4] == b"glTF":
            at, chunks = _HEADER.size, dict[bytes, bytes]()
            while at + _CHUNK.size <= len(data):
                length, kind = _CHUNK.unpack_from(data, at)
                at += _CHUNK.size
                chunks.setdefault(kind, data[at : at + length])
                at += length
            data, binary = chunks[b"JSON"], chunks.get(b"BIN\0", b"")
        document = json.loads(data)
        version = document.get("asset", {}).get("version", "2.0")
        if not str(version).startswith("2"):
            raise ValueError(f"it is of version {version} of glTF, not 2")
        return cls(path, document, binary)

    def view(self, number: int) -> memoryview:
        """The bytes of a buffer view."""
        view = self.json["bufferViews"][number]
        start, buffer = view.get("byteOffset", 0), view["buffer"]
        if buffer not in self._buffers:
            uri = self.json["buffers"][buffer].get("uri")
            self._buffers[buffer] = self.binary if uri is None else self._bytes(uri)
        return memoryview(self._buffers[buffer])[start : start + view["byteLength"]]

    def values(self, number: int) -> np.ndarray:
        """(V, C) of an accessor, in the type in which they are stored."""
        stored = self.json["accessors"][number]
        kind, shape = stored["componentType"], (stored["count"], _WIDTHS[stored["type"]])
        values = self._strided(stored, kind, shape)
        if sparse := stored.get("sparse"):
            count = sparse["count"]
            places = self._strided(sparse["indices"], sparse["indices"]["componentType"], (count, 1))[:, 0]
            values = values.copy()
            values[places] = self._strided(sparse["values"], kind, (count, shape[1]))
        return values

    def texture(self, number: int) -> Texture | None:
        """The image of a texture and how it goes on; None, after a warning, where it cannot be opened."""
        texture = self.json["textures"][number]
        extensions = texture.get("extensions", {})
        sources = [extensions.get(name, {}).get("source") for name in (*_IMAGES, _KTX2)]
        sources.insert(len(_IMAGES), texture.get("source"))
        source = next((one for one in sources if one is not None), -1)
        if source not in self._textures:
            image = self.json["images"][source] if source >= 0 else {}
            name = image.get("uri", "data:")
            name = image.get("name", f"number {number}") if name.startswith("data:") else unquote(name)
            self._textures[source] = open_texture(lambda: self._image(image), name, self.path)
        found = self._textures[source]
        sampler = self.json["samplers"][texture["sampler"]] if "sampler" in texture else {}
        wrap = sampler.get("wrapS", REPEAT), sampler.get("wrapT", REPEAT)
        return None if found is None else replace(found, wrap=wrap)

    def placed(self) -> dict[int, np.ndarray]:
        """The nodes that are shown, and the matrix (4, 4) of each in the scene."""
        scenes = self.json.get("scenes", [])
        chosen = scenes[self.json.get("scene", 0)].get("nodes", []) if scenes else self._roots()
        return self._below(chosen)

    def joints(self) -> dict[int, np.ndarray]:
        """All nodes, and their matrices."""
        return self._below(self._roots())

    def _roots(self) -> list[int]:
        nodes = self.json.get("nodes", [])
        children = {child for node in nodes for child in node.get("children", ())}
        return [number for number in range(len(nodes)) if number not in children]

    def _below(self, roots: Iterable[int]) -> dict[int, np.ndarray]:
        nodes, found = self.json.get("nodes", []), {}
        waiting = [(number, np.eye(4)) for number in roots]
        while waiting:
            number, above = waiting.pop()
            if number not in found:
                found[number] = above @ _matrix(nodes[number])
                waiting += [(child, found[number]) for child in nodes[number].get("children", ())]
        return found

    def _strided(self, place: dict[str, Any], kind: int, shape: tuple[int, int]) -> np.ndarray:
        dtype = np.dtype(_KINDS[kind])
        if "bufferView" not in place:
            return np.zeros(shape, dtype)
        step = self.json["bufferViews"][place["bufferView"]].get("byteStride", dtype.itemsize * shape[1])
        data = self.view(place["bufferView"])
        return np.ndarray(shape, dtype, data, place.get("byteOffset", 0), (step, dtype.itemsize))

    def _image(self, image: dict[str, Any]) -> bytes:
        if "bufferView" in image:
            return bytes(self.view(image["bufferView"]))
        if "uri" not in image:
            raise ValueError("it has no image that is read here")
        return self._bytes(image["uri"])

    def _bytes(self, uri: str) -> bytes:
        """What a URI names: its own data, or a file beside this one."""
        if uri.startswith("data:"):
            head, _, data = uri.partition(",")
            return base64.b64decode(data) if head.endswith(";base64") else unquote_to_bytes(data)
        try:
            return read_beside(self.path, unquote(uri))
        except FileNotFoundError:  # the file may have the percent signs in its own name
            return read_beside(self.path, uri)


def transforms(translation: np.ndarray, rotation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Matrices (V, 4, 4) of translations (V, 3), quaternions x, y, z, w (V, 4) and scales (V, 3)."""
    length = np.linalg.norm(rotation, axis=1)
    x, y, z, w = (rotation / np.where(length > 0, length, 1)[:, None]).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrices = np.tile(np.eye(4), (len(rotation), 1, 1))
    matrices[:, :3, :3] = np.moveaxis(np.array(rows), 2, 0) * scale[:, None]
    matrices[:, :3, 3] = translation
    return matrices


def _matrix(node: dict[str, Any]) -> np.ndarray:
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    defaults = {"translation": [0.0, 0.0, 0.0], "rotation": [0.0, 0.0, 0.0, 1.0], "scale": [1.0, 1.0, 1.0]}
    return transforms(*(np.array([node.get(name, one)], np.float64) for name, one in defaults.items()))[0]
