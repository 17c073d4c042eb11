"""glTF files of a few arrays, for tests."""

import json
import struct
from collections.abc import Set
from pathlib import Path

import numpy as np

COMPONENTS = {"i2": 5122, "u1": 5121, "u2": 5123, "u4": 5125, "f4": 5126}
KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}


def write_gltf_file(
    path: Path,
    primitives: list[dict],
    materials: list[dict],
    nodes: list[dict],
    whole: Set[str] = set(),
    **more,
) -> None:
    """A .glb of one mesh; a primitive maps attributes to arrays, "indices" too, names its material and mode.

    Integers are fractions, but for the attributes that are `whole`.
    """
    binary, views, accessors, stored = b"", [], [], []

    def accessor(name: str, values: np.ndarray) -> int:
        nonlocal binary
        binary += b"\0" * (-len(binary) % 4)
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": values.nbytes})
        binary += values.tobytes()
        width = values.shape[1] if values.ndim == 2 else 1
        component = COMPONENTS[values.dtype.str[1:]]
        entry = {"bufferView": len(views) - 1, "componentType": component, "count": len(values)}
        fractions = (
            {"normalized": True}
            if values.ndim == 2 and values.dtype.kind in "iu" and name not in whole
            else {}
        )
        accessors.append(entry | {"type": KINDS[width]} | fractions)
        return len(accessors) - 1

    for primitive in primitives:
        arrays = {name: accessor(name, v) for name, v in primitive.items() if isinstance(v, np.ndarray)}
        entry = {"indices": arrays.pop("indices")} if "indices" in arrays else {}
        material = {"material": primitive["material"]} if "material" in primitive else {}
        mode = {"mode": primitive["mode"]} if "mode" in primitive else {}
        stored.append({"attributes": arrays} | entry | material | mode)
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": list(range(len(nodes)))}],
        "nodes": nodes,
        "meshes": [{"primitives": stored}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    } | more
    if materials:
        document["materials"] = materials
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    header = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(binary))
    chunks = (
        struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    )
    path.write_bytes(header + chunks)
