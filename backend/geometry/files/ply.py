"""PLY files. N rows of an element · C corners of all faces."""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from backend.geometry.files.part import Part, StoredColors, read_beside, split_vertices, text_of
from backend.geometry.files.polygons import triangles
from backend.geometry.files.texture import Texture, open_texture

_TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"}
_TYPES |= {"float": "f4", "double": "f8"}
_TYPES |= {f"{kind}{bits}": f"{kind[0]}{bits // 8}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
_TYPES |= {"float16": "f2", "float32": "f4", "float64": "f8"}
_CORNERS = ("vertex_indices", "vertex_index")
_UV = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
_RGB = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))


@dataclass(frozen=True)
class _Property:
    """kind: numpy's name of its type as stored, `length` that of its lists' lengths · declared: its own."""

    name: str
    kind: str
    declared: str
    length: str = ""


@dataclass
class _Element:
    """scalars (N,) by name · lists by name, as lengths (N,) and the values of all rows."""

    name: str
    rows: int
    properties: list[_Property] = field(default_factory=list)
    scalars: dict[str, np.ndarray] = field(default_factory=dict)
    lists: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def columns(self, choices: Sequence[Sequence[str]]) -> np.ndarray | None:
        """(N, C) f64 of the first choice that is there whole."""
        for names in choices:
            if all(name in self.scalars for name in names):
                return np.stack([self.scalars[name] for name in names], axis=1).astype(np.float64)
        return None

    def colors(self) -> np.ndarray | None:
        """(N, 3) u8: bytes, or fractions of 1 or of 65535."""
        values = self.columns(_RGB)
        if values is None or not self.rows:
            return None
        values = np.nan_to_num(values)
        kinds = {one.name: one.declared for one in self.properties}
        largest = values.max()
        whole = next(kinds[names[0]] for names in _RGB if names[0] in kinds)[0] != "f"
        scale = 255.0 if not whole and largest <= 1 else 1 / 257 if largest > 255 else 1.0
        return np.rint(values * scale).clip(0, 255).astype(np.uint8)


def read_ply(path: Path) -> list[Part]:
    """The mesh of a .ply file; none where it has only points. Its colours are those of its texture, of its
    vertices, or of its faces.
    """
    elements, images = _elements(path.read_bytes())
    vertex, face = elements.get("vertex"), elements.get("face")
    if vertex is None or face is None or not vertex.rows or not face.lists:
        return []
    vertices = vertex.columns([("x", "y", "z")])
    if vertices is None:
        raise ValueError("its vertices lack x, y or z")
    counts, corners = next((face.lists[n] for n in _CORNERS if n in face.lists), [*face.lists.values()][0])
    corners = corners.astype(np.int64)
    cut, owner = triangles(vertices, corners, counts)
    faces, uv, own_uv = corners[cut], vertex.columns(_UV), _uv_of_corners(face, counts)
    textures = [open_texture(partial(read_beside, path, one), one, path) for one in images]
    painted, of_faces = vertex.colors(), face.colors()
    shown = own_uv is not None or uv is not None
    by_face = painted is None and of_faces is not None and not (shown and any(textures))
    if own_uv is not None:
        keys = own_uv.astype(np.float32).view(np.int64)
        kinds = np.unique(keys, return_inverse=True)[1].reshape(-1)[cut]
        if by_face:
            codes = np.unique(_code_of(of_faces), return_inverse=True)[1].reshape(-1)
            kinds = kinds * len(codes) + codes[owner, None]
    elif by_face:
        kinds = np.repeat(_code_of(of_faces)[owner, None], 3, axis=1)
    else:
        look = StoredColors(len(vertices), uv, None, painted)
        return _by_texture(look, vertices, faces, textures, _texture_numbers(face, owner))
    first, split = split_vertices(faces, kinds)
    used = faces.reshape(-1)[first]
    painted = None if painted is None else painted[used]
    if by_face:
        painted = of_faces[owner[first // 3]]  # type: ignore[index]
    if own_uv is not None:
        uv = own_uv[cut.reshape(-1)[first]]
    else:
        uv = None if uv is None else uv[used]
    look = StoredColors(len(used), uv, None, painted)
    return _by_texture(look, vertices[used], split, textures, _texture_numbers(face, owner))


def _code_of(colors: np.ndarray | None) -> np.ndarray:
    """One number (N,) for each colour (N, 3) u8."""
    return np.asarray(colors).astype(np.int64) @ (65536, 256, 1)


def _texture_numbers(face: _Element, owner: np.ndarray) -> np.ndarray:
    """Which of the textures triangles (F,) show that were cut from faces; the first where none is named."""
    numbers = face.scalars.get("texnumber")
    return np.zeros(len(owner), np.int64) if numbers is None else numbers.astype(np.int64)[owner]


def _by_texture(
    look: StoredColors,
    vertices: np.ndarray,
    faces: np.ndarray,
    textures: Sequence[Texture | None],
    numbers: np.ndarray,
) -> list[Part]:
    """The mesh, of several textures one for each that faces (F, 3) show by their numbers (F,)."""
    if len(textures) < 2:
        return [replace(look, texture=next(iter(textures), None)).part(vertices, faces)]
    numbers = numbers.clip(-1, len(textures))
    return [
        replace(look, texture=textures[n] if 0 <= n < len(textures) else None).part(
            vertices, faces[numbers == n]
        )
        for n in np.unique(numbers)
    ]


def _uv_of_corners(face: _Element, counts: np.ndarray) -> np.ndarray | None:
    """(C, 2), where every face has coordinates for all of its corners."""
    lengths, values = face.lists.get("texcoord", (counts, counts))
    return values.reshape(-1, 2).astype(np.float64) if np.array_equal(lengths, 2 * counts) else None


def _elements(data: bytes) -> tuple[dict[str, _Element], list[str]]:
    """All elements by name, and the names of the textures."""
    end = re.search(rb"end_header[ \t]*\r?\n", data)
    if not data.startswith(b"ply") or end is None:
        raise ValueError("it has no header of a PLY file")
    head, body = data[: end.start()], data[end.end() :]
    text = (
        next((line.split()[1] for line in head.splitlines() if line.startswith(b"format ")), b"") == b"ascii"
    )
    order = ">" if b"big_endian" in head else "<"
    if text:  # so that rows of text are read like others, every number is stored as one of double precision
        body = np.fromstring(body, sep=" ").astype("<f8").tobytes()
    elements: dict[str, _Element] = {}
    images: list[str] = []
    for line in text_of(head).splitlines():
        words = line.split()
        if words[:1] == ["element"]:
            elements[words[1]] = _Element(words[1], int(words[2]))
        elif words[:1] == ["property"]:
            kinds = [_TYPES[word] for word in (words[2:4] if words[1] == "list" else words[1:2])]
            stored = ["<f8" if text else order + kind for kind in kinds]
            length = stored[0] if words[1] == "list" else ""
            [*elements.values()][-1].properties.append(_Property(words[-1], stored[-1], kinds[-1], length))
        elif found := re.match(r"comment\s+texturefile\s+(.+)", line, re.IGNORECASE):
            images.append(found[1].strip())
    at = 0
    for element in elements.values():
        at = _read_rows(element, body, at)
    return elements, images


def _read_rows(element: _Element, data: bytes, at: int) -> int:
    """Fill in the rows of an element, which begin at a place in the data; where they end."""
    if element.rows < 1:
        return at
    counted = [one.name for one in element.properties if one.length]
    lengths = _walk(element, data, at, 1)[1]
    kind = _row_kind(element, lengths[0])
    end = at + element.rows * kind.itemsize
    if end > len(data) and not counted:
        raise ValueError("it ends before its rows do")
    whole = np.frombuffer(data, kind, element.rows, at) if end <= len(data) else None
    if whole is not None and all((whole[f"{n} length"] == whole[f"{n} length"][0]).all() for n in counted):
        groups = [(np.arange(element.rows), whole)]
        lengths = np.repeat(lengths, element.rows, axis=0)
    else:
        starts, lengths, end = _walk(element, data, at, element.rows)
        groups = []
        kinds, number = np.unique(lengths, axis=0, return_inverse=True)
        for k, row in enumerate(kinds):
            rows = np.flatnonzero(number.reshape(-1) == k)
            kind = _row_kind(element, row)
            cells = np.frombuffer(data, np.uint8)[starts[rows, None] + np.arange(kind.itemsize)]
            groups.append((rows, cells.view(kind).reshape(-1)))
    for one in element.properties:
        count = lengths[:, counted.index(one.name)] if one.length else np.ones(element.rows, np.int64)
        begins = np.cumsum(count) - count
        values = groups[0][1][one.name].reshape(-1) if len(groups) == 1 else np.empty(count.sum(), one.kind)
        for rows, stored in groups if len(groups) > 1 else ():
            width = int(count[rows[0]])
            values[begins[rows, None] + np.arange(width)] = stored[one.name].reshape(len(rows), width)
        if one.length:
            element.lists[one.name] = count, values
        else:
            element.scalars[one.name] = values
    return end


def _row_kind(element: _Element, lengths: np.ndarray) -> np.dtype:
    """How a row is stored whose lists are so long."""
    fields: list[tuple] = []
    remaining = iter(lengths.tolist())
    for one in element.properties:
        if one.length:
            fields += [(f"{one.name} length", one.length), (one.name, one.kind, (next(remaining),))]
        else:
            fields.append((one.name, one.kind))
    return np.dtype(fields)


def _walk(element: _Element, data: bytes, at: int, rows: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Where rows begin (N,), how long their lists are (N, L), and where all end: one row after the other."""
    steps: list[tuple[int, struct.Struct, int]] = []  # what lies before a list, its length, an item's size
    before = 0
    for one in element.properties:
        if one.length:
            order, code = one.length[0], np.dtype(one.length).char
            steps.append((before, struct.Struct(order + code), np.dtype(one.kind).itemsize))
            before = 0
        else:
            before += np.dtype(one.kind).itemsize
    starts, lengths = [], []
    for _ in range(rows):
        starts.append(at)
        for skipped, length_of, size in steps:
            at += skipped
            count = int(length_of.unpack_from(data, at)[0])
            if count < 0:
                raise ValueError("a list is shorter than nothing")
            lengths.append(count)
            at += length_of.size + count * size
        at += before
    return np.array(starts), np.array(lengths, np.int64).reshape(rows, len(steps)), at
