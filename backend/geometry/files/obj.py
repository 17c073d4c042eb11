"""Wavefront OBJ files and their materials.

The file's bytes are told apart line by line and handed to numpy a kind at a time, so that nothing is done for
each face. L lines of a kind · C corners of all faces.
"""

import logging
import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from backend.geometry.files.part import GREY, Part, StoredColors, read_beside, split_vertices, text_of
from backend.geometry.files.polygons import triangles
from backend.geometry.files.texture import CLAMP, Texture, open_texture

_NEWLINE, _BLANK, _SLASH = 10, 32, 47
_BRIGHT = 2.0  # colours of vertices above it are written from 0 to 255, as some programs do, not to 1
_NUMBER = r"[-+]?[\d.]+(?:e[-+]?\d+)?(?=\s)"
_OPTION = re.compile(
    rf"-(s|o|t)((?:\s+{_NUMBER}){{1,3}})\s+|-(mm)\s+(\S+\s+\S+)\s+|-([a-z]+)\s+(\S+)\s+", re.I
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Material:
    """plain: u8 sRGB · uv · scale + offset is where its texture is looked up."""

    plain: tuple[int, ...] = GREY
    texture: Texture | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)


def read_obj(path: Path) -> list[Part]:
    """The meshes of an .obj file, one a material; faces without texture coordinates are apart."""
    text = _even(path.read_bytes())
    codes = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(codes == _NEWLINE)[:-2] + 1
    starts = np.concatenate([[0], ends[:-1]])
    first, second, third = (codes[starts + k] for k in range(3))
    is_v = (first == ord("v")) & (second <= _BLANK)
    is_vt = (first == ord("v")) & (second == ord("t")) & (third <= _BLANK)
    is_f = (first == ord("f")) & (second <= _BLANK)
    is_usemtl = first == ord("u")
    for n in np.flatnonzero(is_usemtl):
        is_usemtl[n] = text.startswith(b"usemtl", starts[n])
    if not is_f.any():
        return []

    def lines(which: np.ndarray) -> list[list[str]]:
        return [text_of(text[starts[n] : ends[n]]).split(None, 1) for n in np.flatnonzero(which)]

    def own(which: np.ndarray) -> bytes:
        return _without_keywords(codes, starts, ends, which)

    vertices, colors = _vertices(own(is_v))
    uv = _rows(own(is_vt), 2)[0]
    counts, v, vt = _corners(own(is_f))
    v = _absolute(v, np.repeat(np.cumsum(is_v)[is_f], counts))
    vt = _absolute(vt, np.repeat(np.cumsum(is_vt)[is_f], counts))
    vt[vt >= len(uv)] = -1
    cut, owner = triangles(vertices, v, counts)
    names = ["", *(" ".join(line[1:]).strip() for line in lines(is_usemtl))]
    number = {name: n for n, name in enumerate(dict.fromkeys(names))}
    libraries = [line[1].strip() for line in lines(first == ord("m")) if line[0] == "mtllib" and line[1:]]
    materials = _Materials(path, libraries)
    whole = (vt[cut] >= 0).all(axis=1)
    kinds = np.array([number[name] for name in names])[np.cumsum(is_usemtl)[is_f]][owner] * 2 + whole
    order = np.argsort(kinds, kind="stable")
    found, begins = np.unique(kinds[order], return_index=True)
    parts = []
    for kind, chosen in zip(found, np.split(order, begins[1:]), strict=True):
        corners = cut[chosen]
        corner, faces = split_vertices(v[corners], vt[corners] if kind % 2 else np.full_like(corners, -1))
        used = corners.reshape(-1)[corner]
        material = materials[[*number][kind // 2]]
        own_uv = uv[vt[used]] if kind % 2 else None
        placed = None if own_uv is None else own_uv * material.scale + material.offset
        painted = None if colors is None else colors[v[used]]
        shown = StoredColors(len(used), placed, material.texture, painted, material.plain)
        parts.append(replace(shown.part(vertices[v[used]], faces), uv=own_uv))
    return parts


def _even(data: bytes) -> bytes:
    """The text with whole lines that end and begin alike, and enough of them at its end to look ahead."""
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    data = data.replace(b"\\\n", b" ")
    if data[:1] in b" \t" or b"\n " in data or b"\n\t" in data:
        data = re.sub(rb"(?m)^[ \t]+", b"", data)
    return data + b"\n\n\n"


def _without_keywords(codes: np.ndarray, starts: np.ndarray, ends: np.ndarray, which: np.ndarray) -> bytes:
    """The chosen lines, blanks for the letters they begin with, without comments."""
    kept = codes[: ends[-1]][np.repeat(which, ends - starts)]
    if not len(kept):
        return b""
    begins = np.concatenate([[0], np.flatnonzero(kept == _NEWLINE)[:-1] + 1])
    for k in range(2):
        letters = begins[kept[begins + k] > ord("9")] + k
        kept[letters] = _BLANK
    text = kept.tobytes()
    return re.sub(rb"#[^\n]*", b"", text) if b"#" in text else text


def _words(text: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Where words begin, and how many every line has (L,)."""
    codes = np.frombuffer(text, np.uint8)
    solid = codes > _BLANK
    begins = np.flatnonzero(solid & ~np.concatenate([[False], solid[:-1]]))
    ends = np.flatnonzero(codes == _NEWLINE)
    return begins, np.diff(np.searchsorted(begins, ends), prepend=0)


def _rows(text: bytes, least: int, more: int = 0) -> tuple[np.ndarray, np.ndarray | None]:
    """The first numbers of every line (L, least), and those behind them (L, more) where all have so many."""
    begins, counts = _words(text)
    values = np.fromstring(text, sep=" ") if len(begins) else np.empty(0)
    if len(values) != len(begins) or (counts < least).any():
        raise ValueError("a line lacks numbers")
    first = (np.cumsum(counts) - counts)[:, None]
    whole = len(counts) > 0 and counts.min() >= least + more
    return values[first + np.arange(least)], values[first + least + np.arange(more)] if whole else None


def _vertices(text: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """Places (V, 3), and colours (V, 3) u8 where each has one."""
    places, colors = _rows(text, 3, 3)
    if colors is not None:
        colors = np.nan_to_num(colors)
        colors = (
            np.rint(colors * (1 if colors.max(initial=0) > _BRIGHT else 255)).clip(0, 255).astype(np.uint8)
        )
    return places, colors


def _corners(text: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many corners a face has (F,), and their vertices and texture coordinates (C,), 0 without."""
    text = text.replace(b"//", b"/0/")
    if re.search(rb"/[ \t\n]", text):
        text = re.sub(rb"/(?=[ \t\n])", b"", text)
    begins, counts = _words(text)
    slash = np.flatnonzero(np.frombuffer(text, np.uint8) == _SLASH)
    slashes = np.diff(np.searchsorted(slash, begins), append=len(slash))
    numbers = np.fromstring(text.replace(b"/", b" "), sep=" ", dtype=np.int64)
    if len(numbers) != len(begins) + slashes.sum():
        raise ValueError("a face has corners that are no numbers")
    first = np.cumsum(slashes + 1) - slashes - 1
    vt = np.where(slashes > 0, numbers[np.minimum(first + 1, len(numbers) - 1)], 0)
    return counts, numbers[first], vt


def _absolute(numbers: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Numbers (C,) counted from 0, negative ones back from as many as came `before` (C,); 0 becomes −1."""
    return np.where(numbers > 0, numbers - 1, np.where(numbers < 0, numbers + before, -1))


class _Materials:
    """The materials of an .obj file's libraries by name, whose images are opened when they are asked for."""

    def __init__(self, path: Path, libraries: list[str]) -> None:
        self._path = path
        self._stored: dict[str, dict[str, str]] = {}
        self._textures: dict[str, Texture | None] = {}
        for library in libraries:
            self._read(library)

    def __getitem__(self, name: str) -> _Material:
        stored = self._stored.get(name, {})
        plain = GREY
        try:
            red, green, blue = (float(word) for word in stored.get("kd", "").split())
            plain = tuple(np.rint(np.clip([red, green, blue], 0, 1) * 255).astype(int).tolist())
        except ValueError:
            pass  # of a spectrum, or without
        if "map_kd" not in stored:
            return _Material(plain)
        options, image = _options(stored["map_kd"])
        if image not in self._textures:
            self._textures[image] = open_texture(partial(read_beside, self._path, image), image, self._path)
        texture = self._textures[image]
        if texture is not None and options.get("clamp") == ["on"]:
            texture = replace(texture, wrap=(CLAMP, CLAMP))
        return _Material(plain, texture, _pair(options.get("s"), 1.0), _pair(options.get("o"), 0.0))

    def _read(self, library: str) -> None:
        missing = True
        for name in dict.fromkeys([library, *library.split()]):  # one name with blanks, or several names
            try:
                text = text_of(read_beside(self._path, name))
            except OSError:
                continue
            missing = False
            stored: dict[str, str] = {}
            for line in text.splitlines():
                key, _, value = line.strip().replace("\t", " ").partition(" ")
                if key.lower() == "newmtl":
                    stored = self._stored[value.strip()] = {}
                else:
                    stored[key.lower()] = value.strip()
            if name == library:
                break
        if missing:
            log.warning("The materials %s of %s are not there; it is read without.", library, self._path)


def _options(text: str) -> tuple[dict[str, list[str]], str]:
    """Options of a map by name, and the image's name behind them."""
    options: dict[str, list[str]] = {}
    while found := _OPTION.match(text):
        name, *values = (one for one in found.groups() if one is not None)
        options[name.lower()] = " ".join(values).split()
        text = text[found.end() :]
    return options, text


def _pair(values: list[str] | None, default: float) -> tuple[float, float]:
    numbers = [*map(float, values or ()), default, default]
    return numbers[0], numbers[1]
