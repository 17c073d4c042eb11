"""Gaussians as a .ply: the 3DGS layout that viewers share, and the packed one of SuperSplat when it is read.

The 3DGS layout is one `vertex` element of float32: x y z nx ny nz f_dc_* f_rest_* opacity scale_* rot_*.
"""

import itertools
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..faults import Fault
from . import harmonics
from .packed_ply import Tables, unpacked
from .quaternions import canonical
from .values import Splats

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}
_LONGEST_HEADER = 1 << 20
_END = re.compile(rb"[\r\n]end_header[ \t]*(\r\n|\r|\n|$)")
_LIST = "list"
_GROUPS = {
    "position": ("x", "y", "z"),
    "f_dc": ("f_dc_0", "f_dc_1", "f_dc_2"),
    "opacity": ("opacity",),
    "scale": ("scale_0", "scale_1", "scale_2"),
    "rotation": ("rot_0", "rot_1", "rot_2", "rot_3"),
}

Element = tuple[str, int, list[tuple[str, str]]]  # name, count, properties with their types


def read_ply(path: Path) -> Splats:
    """The splats as the file has them. Raises Fault where it is no file of Gaussians or damaged, OSError."""
    with open(path, "rb") as file:
        order, elements = _header(file, path)
        tables = _body(file, path, order, elements)
    vertex = tables.get("vertex", {})
    if "chunk" in tables and "packed_position" in vertex:
        return unpacked(tables, path)
    missing = [name for group in _GROUPS.values() for name in group if name not in vertex]
    if missing:
        raise Fault(
            f'"{path}" holds no Gaussian splats (it has no {missing[0]}): try Blender\'s own import of PLY.'
        )
    values = {key: _columns(vertex, group) for key, group in _GROUPS.items()}
    count = sum(name.startswith("f_rest_") for name in vertex)
    if count % 3 or count // 3 not in harmonics.COUNTS:
        raise Fault(f'"{path}" has {count} values f_rest; spherical harmonics have 0, 9, 24 or 45.')
    names = [f"f_rest_{place}" for place in range(count)]
    if any(name not in vertex for name in names):
        raise Fault(f'"{path}" has gaps in its values f_rest: export it again.')
    rest = _columns(vertex, names)
    return Splats(**values, f_rest=rest.reshape(len(rest), 3, count // 3))


def write_ply(path: Path, splats: Splats) -> None:
    """Writes the 3DGS layout; the quaternions are made unit ones, their largest component positive."""
    columns = [splats.position, np.zeros_like(splats.position), splats.f_dc]
    columns += [splats.f_rest.reshape(len(splats), 3 * splats.f_rest.shape[2]), splats.opacity, splats.scale]
    rows = np.concatenate([*columns, canonical(splats.rotation)], axis=1).astype("<f4")
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    names = property_names(splats.f_rest.shape[2])
    header += [f"property float {name}" for name in names] + ["end_header", ""]
    with open(path, "wb") as file:
        file.write("\n".join(header).encode("ascii"))
        file.write(rows.data)


def property_names(harmonic_count: int) -> tuple[str, ...]:
    """Of the 3DGS layout, in order, for so many coefficients a channel beside the constant one."""
    rest = tuple(f"f_rest_{place}" for place in range(3 * harmonic_count))
    first = (*_GROUPS["position"], "nx", "ny", "nz", *_GROUPS["f_dc"])
    return (*first, *rest, *_GROUPS["opacity"], *_GROUPS["scale"], *_GROUPS["rotation"])


def _columns(table: dict[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    values = np.empty((len(table["x"]), len(names)), np.float32)
    for place, name in enumerate(names):
        values[:, place] = table[name]
    return values


def _header(file: BinaryIO, path: Path) -> tuple[str, list[Element]]:
    """The byte order, "=" for text, and the elements: name, count and row."""
    start = file.read(_LONGEST_HEADER)
    end = _END.search(start)
    if not start.startswith(b"ply") or end is None:
        raise Fault(f'"{path}" is not a PLY file: choose a file of Gaussian splats.')
    text = start[: end.start()]
    file.seek(end.end())
    order = ""
    elements: list[Element] = []
    try:
        for words in (line.split() for line in re.split("[\r\n]+", text.decode("latin-1"))[1:]):
            if words[:1] == ["format"]:
                order = _ORDERS[words[1]]
            elif words[:1] == ["element"]:
                elements.append((words[1], int(words[2]), []))
            elif words[:1] == ["property"]:
                kind = _LIST if words[1] == _LIST else order + _TYPES[words[1]]
                elements[-1][2].append((words[-1], kind))
        if not order:
            raise ValueError("no format")
        for _, count, row in elements:
            if count < 0 or not row or len(dict(row)) < len(row):
                raise ValueError("an element that is no table")
    except (KeyError, IndexError, ValueError) as error:
        raise Fault(
            f'The header of "{path}" cannot be understood: export it again as a splat PLY.'
        ) from error
    return order, elements


def _body(file: BinaryIO, path: Path, order: str, elements: list[Element]) -> Tables:
    tables = {}
    for name, count, row in elements:
        if _LIST in dict(row).values():  # faces, from another tool; nothing of splats comes after them
            break
        table = _text_rows(file, count, row, path) if order == "=" else _binary_rows(file, count, row)
        found = len(table[row[0][0]])
        if found < count:
            raise Fault(f'"{path}" ends too early: {found:,} of {count:,} rows of "{name}" are there.')
        tables[name] = table
    return tables


def _binary_rows(file: BinaryIO, count: int, row: list[tuple[str, str]]) -> dict[str, np.ndarray]:
    size = np.dtype(row).itemsize
    there = os.fstat(file.fileno()).st_size - file.tell()  # the header of a damaged file may ask for more
    data = file.read(min(count * size, there))
    table = np.frombuffer(data[: len(data) - len(data) % size], row)
    return {name: table[name] for name, _ in row}


def _text_rows(file: BinaryIO, count: int, row: list[tuple[str, str]], path: Path) -> dict[str, np.ndarray]:
    lines = list(itertools.islice(filter(bytes.strip, file), min(count, sys.maxsize)))
    try:
        values = np.array([line.split() for line in lines], np.float64).reshape(-1, len(row))
    except ValueError as error:
        raise Fault(f'"{path}" holds a line that is no row of numbers: export it again.') from error
    return {name: values[:, place].astype(kind) for place, (name, kind) in enumerate(row)}
