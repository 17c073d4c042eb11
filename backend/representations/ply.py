"""Binary little-endian PLY vertex tables: the writer, and a reader that believes nothing it reads."""

from pathlib import Path
from typing import BinaryIO

import numpy as np

from backend.errors import UserError
from backend.files import atomic_path, check_ordinary

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "<i2", "ushort": "<u2", "int": "<i4", "uint": "<u4",
    "int8": "i1", "uint8": "u1", "int16": "<i2", "uint16": "<u2", "int32": "<i4", "uint32": "<u4",
    "float": "<f4", "float32": "<f4", "double": "<f8", "float64": "<f8",
}  # fmt: skip
_LONGEST_HEADER = 1 << 16
_LARGEST_FILE = 4 << 30
_FORMAT = "binary_little_endian"


def write_vertices(path: Path, names: tuple[str, ...], table: np.ndarray) -> None:
    """Write `table` (V, len(names)) as float32 vertex properties."""
    assert table.ndim == 2 and table.shape[1] == len(names), table.shape
    header = ["ply", f"format {_FORMAT} 1.0", f"element vertex {len(table)}"]
    header += [f"property float {name}" for name in names] + ["end_header", ""]
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write("\n".join(header).encode("ascii"))
        file.write(np.ascontiguousarray(table, dtype="<f4").data)


def read_vertices(path: Path) -> np.ndarray:
    """The vertex element as a structured array (V,), whatever the order of its properties.

    Raises UserError for a file that cannot be opened, another format, a damaged header or a body cut short.
    """
    path = Path(path)
    check_ordinary(path, _LARGEST_FILE)
    try:
        with open(path, "rb") as file:
            count, fields, skipped = _read_header(file, path.name)
            start = file.tell() + skipped
            # The count is the file's own claim: compare it with what is there before any memory is taken.
            if path.stat().st_size - start < count * np.dtype(fields).itemsize:
                raise UserError(f"{path.name} is cut short: it promises {count} vertices; copy it again.")
            file.seek(start)
            return np.fromfile(file, dtype=fields, count=count)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); choose another file.") from error


def _read_header(file: BinaryIO, name: str) -> tuple[int, list[tuple[str, str]], int]:
    """Vertex count, vertex fields and the bytes of the elements before them."""
    lines = _header_lines(file, name)
    if lines[1][:1] != ["format"] or lines[1][1:2] != [_FORMAT]:
        found = " ".join(lines[1][1:2]) or "no format"
        raise UserError(f"{name} is a PLY file of format {found}; export it as {_FORMAT}.")
    elements = _elements(lines[2:], name)
    skipped = 0
    for element, count, fields in elements:
        if element == "vertex":
            if not fields or len({field for field, _ in fields}) < len(fields) or _has_list(fields):
                raise UserError(f"{name} has vertex properties that cannot be read; export it again.")
            return count, fields, skipped
        if _has_list(fields):
            raise UserError(f"{name} stores lists before its vertices; export it with the vertices first.")
        skipped += count * sum(np.dtype(kind).itemsize for _, kind in fields)
    raise UserError(f"{name} has no vertices in its header; choose another file.")


def _header_lines(file: BinaryIO, name: str) -> list[list[str]]:
    """The header's words by line, from "ply" up to "end_header"; the file then stands at the body."""
    lines: list[list[str]] = []
    if file.read(4) not in (b"ply\n", b"ply\r"):
        raise UserError(f"{name} is not a PLY file; choose another file.")
    file.seek(0)
    while file.tell() < _LONGEST_HEADER:
        line = file.readline(_LONGEST_HEADER)
        if not line.endswith(b"\n"):
            break
        words = line.decode("ascii", "replace").split()
        if words == ["end_header"]:
            return [*lines, []] if len(lines) < 2 else lines
        if words and words[0] not in ("comment", "obj_info"):
            lines.append(words)
    raise UserError(f"{name} has a PLY header without an end; copy or export it again.")


def _elements(lines: list[list[str]], name: str) -> list[tuple[str, int, list[tuple[str, str]]]]:
    elements: list[tuple[str, int, list[tuple[str, str]]]] = []
    for words in lines:
        match words:
            case ["element", element, count] if count.isascii() and count.isdigit() and len(count) < 16:
                elements.append((element, int(count), []))
            case ["property", "list", _, _, field] if elements:
                elements[-1][2].append((field, "list"))
            case ["property", kind, field] if elements and kind in _TYPES:
                elements[-1][2].append((field, _TYPES[kind]))
            case _:
                raise UserError(
                    f"{name} has a bad PLY header line {' '.join(words)[:50]!r}; export it again."
                )
    return elements


def _has_list(fields: list[tuple[str, str]]) -> bool:
    return any(kind == "list" for _, kind in fields)
