"""glTF files: every mesh that is placed in the scene, with the colours that the format's rules give it.

V vertices · F faces · P places on faces.
"""

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from backend.errors import UserError
from backend.geometry.files.gltf_document import Document, transforms
from backend.geometry.files.part import At, Part, from_above
from backend.geometry.files.texture import Texture

_SPECULAR, _TRANSFORM = "KHR_materials_pbrSpecularGlossiness", "KHR_texture_transform"
_DRACO = "KHR_draco_mesh_compression"
_MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
_INSTANCES = "EXT_mesh_gpu_instancing"
_READ = {_DRACO, _TRANSFORM, _INSTANCES, "KHR_mesh_quantization", "EXT_texture_webp", "EXT_texture_avif"}
# Those say nothing of shape or base colour.
_VISUAL = ("KHR_materials_", "KHR_lights_", "EXT_lights_", "KHR_animation_", "KHR_xmp")
_TRIANGLES, _STRIP, _FAN = 4, 5, 6


def read_gltf(path: Path) -> list[Part]:
    """Every placed mesh of a .glb or .gltf file; uv: those of the texture that gives it its colours.

    Raises UserError for a compression or another extension that it needs and that is not read.
    """
    document = Document.open(path)
    _check_extensions(path, document.json)
    meshes, nodes = document.json.get("meshes", []), document.json.get("nodes", [])
    shapes: dict[tuple[int, int], Part | None] = {}
    parts = []
    for number, matrix in document.placed().items():
        node = nodes[number]
        for n, primitive in enumerate(meshes[node["mesh"]]["primitives"] if "mesh" in node else ()):
            key = node["mesh"], n
            if key not in shapes:
                shapes[key] = _shape(document, primitive)
            shape = shapes[key]
            if shape is not None:
                weights = node.get("weights", meshes[node["mesh"]].get("weights", []))
                vertices = _morphed(document, primitive, shape.vertices, weights)
                if "skin" in node:
                    parts.append(replace(shape, vertices=_posed(document, node["skin"], primitive, vertices)))
                else:
                    parts += [_moved(shape, vertices, matrix @ one) for one in _instances(document, node)]
    return parts


def _check_extensions(path: Path, stored: dict[str, Any]) -> None:
    required = stored.get("extensionsRequired", [])
    if _DRACO in required and importlib.util.find_spec("DracoPy") is None:
        raise UserError(
            f"The mesh {path} is compressed with Draco; install the package DracoPy or export it plain."
        )
    lent = (one.get("extensions", {}) for one in stored.get("buffers", []) if "uri" not in one)
    # A buffer that stands for what is unpacked has no bytes, and those of another would be read for them.
    if {*required, *(name for one in lent for name in one)} & {*_MESHOPT}:
        raise UserError(f"The mesh {path} is compressed with meshopt; export it uncompressed.")
    if "KHR_texture_basisu" in required:
        raise UserError(f"The textures of {path} are KTX2 images, which are not read; export them as PNG.")
    unknown = [name for name in required if name not in _READ and not name.startswith(_VISUAL)]
    if unknown:
        raise UserError(
            f"The mesh {path} needs {', '.join(unknown)} of glTF, which is not read; export it without."
        )


@dataclass(frozen=True)
class _Look:
    """Colours of a primitive: COLOR_0 · baseColorFactor · texture, multiplied in linear light.

    painted (V, 3) linear · uv (V, 2), origin in the upper left corner, before the texture's transformation.
    """

    vertices: int
    factor: np.ndarray
    texture: Texture | None
    transform: dict[str, Any]
    painted: np.ndarray | None = None
    uv: np.ndarray | None = None

    def __call__(self, at: At) -> np.ndarray:
        """(P, 3) u8 sRGB at places."""
        linear = np.tile(self.factor, (len(at(np.zeros((self.vertices, 1)))), 1))
        if self.painted is not None:
            linear *= at(self.painted)
        if self.texture is not None and self.uv is not None:
            linear *= _LINEAR[self.texture.colors(self.transformed(at(self.uv)))]
        return np.rint(_srgb_from_linear(linear.clip(0, 1)) * 255).astype(np.uint8)

    def transformed(self, uv: np.ndarray) -> np.ndarray:
        """Coordinates (P, 2) as the texture's KHR_texture_transform places them."""
        angle, scale = self.transform.get("rotation", 0.0), np.array(self.transform.get("scale", [1.0, 1.0]))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return (uv * scale) @ turn + np.array(self.transform.get("offset", [0.0, 0.0]))

    def varies(self, faces: np.ndarray) -> bool:
        """Whether its texture shows more inside of faces (F, 3) than at their corners."""
        if self.texture is None or self.uv is None:
            return False
        return self.texture.varies(self.transformed(self.uv)[faces])


def _shape(document: Document, primitive: dict[str, Any]) -> Part | None:
    """The mesh of a primitive in its own space; None of points and lines."""
    mode = primitive.get("mode", _TRIANGLES)
    if mode not in (_TRIANGLES, _STRIP, _FAN) or "POSITION" not in primitive["attributes"]:
        return None
    stored = _attributes(document, primitive)
    place = _stored_numbers(document, primitive, stored, "POSITION")
    order = stored["indices"].reshape(-1) if "indices" in stored else np.arange(len(place))
    faces = _faces(order.astype(np.int64), mode)
    if len(faces) and faces.max() >= len(place):
        raise ValueError("faces name vertices that it lacks")
    material = document.json["materials"][primitive["material"]] if "material" in primitive else {}
    base, texture = _base(material)
    transform = texture.get("extensions", {}).get(_TRANSFORM, {})
    image = document.texture(texture["index"]) if "index" in texture else None
    factor = np.array(base.get("baseColorFactor", [1.0, 1.0, 1.0, 1.0]), np.float64)[:3]
    painted = _unit_range(stored["COLOR_0"])[:, :3] if "COLOR_0" in stored else None
    name = f"TEXCOORD_{transform.get('texCoord', texture.get('texCoord', 0))}"
    uv = _stored_numbers(document, primitive, stored, name) if name in stored else None
    look = _Look(len(place), factor, image, transform, painted, uv)
    own_uv = uv
    if uv is not None and stored[name].dtype.kind in "iu" and not _is_fraction(document, primitive, name):
        own_uv = look.transformed(uv)  # whole numbers, which the texture's transformation makes fractions
    see_through = material.get("alphaMode", "OPAQUE") != "OPAQUE"
    flipped = None if own_uv is None else from_above(own_uv)
    return Part(place, faces, flipped, look, look.varies(faces), see_through)


def _base(material: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What gives a material its base colour, and the texture of that; of the older materials of specular and
    glossiness the diffuse colour.
    """
    older = material.get("extensions", {}).get(_SPECULAR)
    if older is None:
        base = material.get("pbrMetallicRoughness", {})
        return base, base.get("baseColorTexture", {})
    base = {"baseColorFactor": older["diffuseFactor"]} if "diffuseFactor" in older else {}
    return base, older.get("diffuseTexture", {})


def _attributes(document: Document, primitive: dict[str, Any]) -> dict[str, np.ndarray]:
    """Values (V, C) as stored by name, and the indices."""
    numbers = dict(primitive["attributes"])
    if "indices" in primitive:
        numbers["indices"] = primitive["indices"]
    packed = primitive.get("extensions", {}).get(_DRACO)
    found: dict[str, np.ndarray] = {}
    if packed is not None and importlib.util.find_spec("DracoPy") is not None:
        import DracoPy

        decoded = DracoPy.decode(bytes(document.view(packed["bufferView"])))
        names = {number: name for name, number in packed["attributes"].items()}
        for one in decoded.attributes:
            if one["unique_id"] in names:
                found[names[one["unique_id"]]] = np.asarray(one["data"])
        found["indices"] = np.asarray(decoded.faces)
    wanted = ("POSITION", "COLOR_", "TEXCOORD_", "JOINTS_", "WEIGHTS_", "indices")
    rest = [name for name in numbers if name not in found and name.startswith(wanted)]
    return found | {name: document.values(numbers[name]) for name in rest}


def _is_fraction(document: Document, primitive: dict[str, Any], name: str) -> bool:
    return document.json["accessors"][primitive["attributes"][name]].get("normalized", False)


def _stored_numbers(
    document: Document, primitive: dict[str, Any], stored: dict[str, np.ndarray], name: str
) -> np.ndarray:
    """Values (V, C) f64 of an attribute, integers as what they stand for."""
    fraction = _is_fraction(document, primitive, name)
    return _unit_range(stored[name]) if fraction else stored[name].astype(np.float64)


def _faces(order: np.ndarray, mode: int) -> np.ndarray:
    """(F, 3) of the vertices' order in triangles, a strip or a fan; without those of a strip's turns."""
    if mode == _TRIANGLES:
        return order.reshape(-1, 3)
    if mode == _FAN:
        return np.stack([np.full(max(len(order) - 2, 0), order[0]), order[1:-1], order[2:]], axis=1)
    faces = np.stack([order[:-2], order[1:-1], order[2:]], axis=1)
    faces[1::2] = faces[1::2, [1, 0, 2]]
    return faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]


def _morphed(
    document: Document, primitive: dict[str, Any], vertices: np.ndarray, weights: list[float]
) -> np.ndarray:
    for weight, target in zip(weights, primitive.get("targets", []), strict=False):
        if weight and "POSITION" in target:
            moved = document.values(target["POSITION"])
            fraction = document.json["accessors"][target["POSITION"]].get("normalized", False)
            vertices = vertices + weight * (_unit_range(moved) if fraction else moved)
    return vertices


def _posed(document: Document, skin: int, primitive: dict[str, Any], vertices: np.ndarray) -> np.ndarray:
    """Vertices (V, 3) where the joints hold them, wherever their own node is."""
    stored = document.json["skins"][skin]
    placed = document.joints()
    matrices = np.array([placed[joint] for joint in stored["joints"]])
    if "inverseBindMatrices" in stored:
        inverse = document.values(stored["inverseBindMatrices"]).reshape(-1, 4, 4).swapaxes(1, 2)
        matrices = matrices @ inverse[: len(matrices)]
    values = _attributes(document, primitive)
    blended = np.zeros((len(vertices), 4, 4))
    for number in range(sum(name.startswith("JOINTS_") for name in values)):
        joints, weights = values[f"JOINTS_{number}"], _unit_range(values[f"WEIGHTS_{number}"])
        for k in range(joints.shape[1]):
            blended += weights[:, k, None, None] * matrices[joints[:, k]]
    total = blended[:, 3, 3]
    moved = np.einsum("vij,vj->vi", blended[:, :3, :3], vertices) + blended[:, :3, 3]
    return np.where(total[:, None] > 0, moved / np.where(total > 0, total, 1)[:, None], vertices)


def _instances(document: Document, node: dict[str, Any]) -> np.ndarray:
    """Matrices (N, 4, 4) of the places in the node where its mesh stands."""
    packed = node.get("extensions", {}).get(_INSTANCES, {}).get("attributes", {})
    defaults = {"TRANSLATION": [0.0, 0.0, 0.0], "ROTATION": [0.0, 0.0, 0.0, 1.0], "SCALE": [1.0, 1.0, 1.0]}
    found = {name: _unit_range(document.values(packed[name])) for name in defaults if name in packed}
    count = max((len(one) for one in found.values()), default=1)
    return transforms(*(found.get(name, np.tile(one, (count, 1))) for name, one in defaults.items()))


def _moved(shape: Part, vertices: np.ndarray, matrix: np.ndarray) -> Part:
    """The mesh in the scene; a mirror turns its faces round."""
    faces = shape.faces[:, ::-1] if np.linalg.det(matrix[:3, :3]) < 0 else shape.faces
    return replace(shape, vertices=vertices @ matrix[:3, :3].T + matrix[:3, 3], faces=faces)


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


_LINEAR = _linear_from_srgb(np.arange(256) / 255)
