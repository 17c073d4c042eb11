"""Objects to train on: a folder of meshes -> catalogue entries -> meshes with face-corner colours.

V vertices · F faces. Space is right-handed and Z up; front is −Y.
"""

from __future__ import annotations

import csv
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.errors import UserError
from backend.files import check_ordinary
from backend.geometry.files.gltf import read_gltf
from backend.geometry.files.obj import read_obj
from backend.geometry.files.part import LARGEST_FILE, Part, StoredColors
from backend.geometry.files.ply import read_ply
from backend.geometry.files.split import split_for_colors, whole

SUFFIXES = (".npz", ".glb", ".gltf", ".obj", ".ply", ".stl")
READING = 2
"""Grows where files of other tools are read as other vertices, faces or colours than before."""
_Y_UP = (".glb", ".gltf", ".obj")
_FAR = 16  # sizes of an object
# What readers of mesh formats raise over files that are cut off, empty or something else.
_BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Entry:
    """One object of a catalogue; `title` is what its author called it.

    `group` joins variants of one shape, `brand` marks trademarked looks.
    """

    path: Path
    name: str
    group: str
    family: str = ""
    brand: bool = False
    licence: str = ""
    attribution: str = ""
    title: str = ""


@dataclass(frozen=True)
class Asset:
    """vertices (V, 3) f32 · faces (F, 3) i32 counter-clockwise · corner_colors (F, 3, 3) u8 sRGB · smooth
    (F,) bool · origin: vertices + origin are the file's.
    """

    vertices: np.ndarray
    faces: np.ndarray
    corner_colors: np.ndarray
    smooth: np.ndarray
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)


def read_catalogue(folder: Path) -> tuple[Entry, ...]:
    """All objects of a folder: by its manifest.csv, or else every mesh file below it that is not hidden.

    Raises UserError when the folder is missing or holds no mesh.
    """
    if not folder.is_dir():
        raise UserError(
            f"The data folder {folder} does not exist; give a folder of {', '.join(SUFFIXES)} files."
        )
    manifest = folder / "manifest.csv"
    entries = _read_manifest(manifest) if manifest.is_file() else _scan(folder)
    if not entries:
        raise UserError(f"The data folder {folder} holds no meshes; supported are {', '.join(SUFFIXES)}.")
    return entries


def load_asset(path: Path, split: bool = False) -> Asset:
    """Reads one mesh; raises UserError when the file is missing, unreadable or without faces.

    split: textured faces are split until the colours of their corners stand for the texture.
    """
    return load_with_parts(path, split)[0]


def load_with_parts(
    path: Path, split: bool = False, parts: list[Part] | None = None
) -> tuple[Asset, list[Part]]:
    """The same, and the file's meshes in the order in which they are joined; of an .npz file none. parts:
    these, where the file was read before.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path} is not read as a mesh; give {', '.join(_READERS)}.")
    if not path.exists():
        raise UserError(f"The mesh {path} does not exist; check the data folder and its manifest.")
    check_ordinary(path, LARGEST_FILE)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # coordinates that are no numbers are told below
            parts = read_parts(path) if parts is None else parts
            asset = _load_npz(path) if suffix == ".npz" else _joined(path, parts, split)
    except _BROKEN as error:
        raise UserError(f"The mesh {path} cannot be read ({error}); export it again as GLB.") from error
    if len(asset.faces) and not 0 <= asset.faces.min() <= asset.faces.max() < len(asset.vertices):
        raise UserError(f"The faces of the mesh {path} name vertices that it lacks; export it again as GLB.")
    if len(asset.faces) == 0 or not np.isfinite(asset.vertices).all():
        raise UserError(
            f"The mesh {path} has no faces or has broken coordinates; repair it or take it out of the folder."
        )
    return asset, parts


def group_weights(entries: tuple[Entry, ...]) -> np.ndarray:
    """Sampling probabilities (N,) that give every group of shape variants the same share."""
    sizes: dict[str, int] = {}
    for entry in entries:
        sizes[entry.group] = sizes.get(entry.group, 0) + 1
    weights = np.array([1.0 / sizes[entry.group] for entry in entries])
    return weights / weights.sum()


def spread_over_families(entries: tuple[Entry, ...], count: int, skip: int = 0) -> tuple[Entry, ...]:
    """`count` entries without brands, one a family, in an order that has nothing to do with their names'
    alphabet.
    """
    ordered = sorted((e for e in entries if not e.brand), key=lambda e: zlib.crc32(e.name.encode()[::-1]))
    first = {entry.family or entry.name: entry for entry in reversed(ordered)}
    chosen = sorted(first.values(), key=lambda e: zlib.crc32(e.name.encode()[::-1]))
    return tuple(chosen[skip : skip + count])


def _read_manifest(manifest: Path) -> tuple[Entry, ...]:
    with manifest.open(newline="", encoding="utf-8-sig") as file:  # as Excel writes them
        rows = csv.DictReader(file)
        needed = {"file", "id", "geo_group", "family", "brand", "licence", "attribution"}
        if missing := needed - set(rows.fieldnames or ()):
            raise UserError(
                f"{manifest} lacks the column {', '.join(sorted(missing))}; add it to the first line."
            )
        return tuple(
            Entry(
                path=_beside(manifest, row["file"]),
                name=row["id"],
                group=row["geo_group"],
                family=row["family"],
                brand=row["brand"] == "1",
                licence=row["licence"],
                attribution=row["attribution"],
                title=row.get("name", ""),
            )
            for row in rows
        )


def _beside(manifest: Path, name: str) -> Path:
    """The file of a manifest's row, also where its folder is no longer there."""
    path = manifest.parent / name
    return path if path.is_file() else manifest.parent / path.name


def _scan(folder: Path) -> tuple[Entry, ...]:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and _is_shown(p, folder))
    return tuple(
        Entry(path=p, name=p.relative_to(folder).as_posix(), group=p.as_posix(), title=p.stem) for p in paths
    )


def _is_shown(path: Path, folder: Path) -> bool:
    """Whether a file is neither hidden, as AppleDouble files beside others are, nor in a hidden folder."""
    return path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)


def _load_npz(path: Path) -> Asset:
    with np.load(path, allow_pickle=False) as data:
        faces = data["faces"].astype(np.int32)
        return Asset(
            vertices=data["vertices"].astype(np.float32),
            faces=faces,
            corner_colors=data["corner_colors"],
            smooth=np.unpackbits(data["smooth"])[: len(faces)].astype(bool),
        )


def _joined(path: Path, parts: list[Part], split: bool) -> Asset:
    if not parts:
        raise UserError(f"The file {path} holds no mesh, only points or nothing; take it out of the folder.")
    splits = split_for_colors(parts) if split else whole(parts)
    places = [one(part.vertices) for part, one in zip(parts, splits, strict=True)]
    starts = np.cumsum([0] + [len(one) for one in places])
    joined = np.concatenate([one.faces + start for one, start in zip(splits, starts, strict=False)])
    vertices = np.concatenate(places)
    if path.suffix.lower() in _Y_UP:
        vertices = np.stack([vertices[:, 0], -vertices[:, 2], vertices[:, 1]], axis=1)
    origin = _origin(vertices[joined])
    colors = np.concatenate([part.colors(one) for part, one in zip(parts, splits, strict=True)])
    return Asset(
        (vertices - origin).astype(np.float32),
        joined.astype(np.int32),
        colors[joined],
        np.zeros(len(joined), bool),
        origin,
    )


def _origin(corners: np.ndarray) -> tuple[float, float, float]:
    """The middle of corners (F, 3, 3) so far away that single precision would lose detail there, or 0."""
    if not len(corners):
        return (0.0, 0.0, 0.0)
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    x, y, z = (low + high) / 2
    far = max(abs(x), abs(y), abs(z)) > _FAR * (high - low).max()
    return (float(x), float(y), float(z)) if far else (0.0, 0.0, 0.0)


def read_parts(path: Path) -> list[Part]:
    """The meshes of a file in the order in which `load_asset` joins them; of an .npz file none."""
    read = _READERS.get(path.suffix.lower())
    return [] if read is None else read(path)


def _read_stl(path: Path) -> list[Part]:
    try:
        import trimesh  # heavy, and only this format needs it
    except ImportError:
        raise UserError(f"Reading {path} needs the package trimesh; install it or convert to npz.") from None
    meshes = trimesh.load_scene(path, process=False).dump()
    parts = [
        StoredColors(len(mesh.vertices)).part(np.asarray(mesh.vertices), np.asarray(mesh.faces))
        for mesh in meshes
        if isinstance(mesh, trimesh.Trimesh)
    ]
    if not parts:  # trimesh takes a binary file that is cut off for an empty text
        raise ValueError("it is cut off or has no faces")
    return parts


_READERS = {".glb": read_gltf, ".gltf": read_gltf, ".obj": read_obj, ".ply": read_ply, ".stl": _read_stl}
