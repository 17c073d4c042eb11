"""Textured faces are split until the colours of their corners stand for the texture."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from backend import edit
from backend.geometry.files import split
from backend.geometry.mesh_files import Asset, load_asset, read_catalogue
from backend.texture.mesh_source import read_mesh
from backend.training.data import records
from backend.training.data.records import Records
from backend.training.dataset import ObjectSource
from backend.trellis.encode import Frame

# A red border of a tenth of the side round blue.
CRATE = np.full((40, 40, 3), (255, 0, 0), np.uint8)
CRATE[4:-4, 4:-4] = (0, 0, 255)


def write_crate(path: Path, size: tuple[float, float, float] = (1, 1, 1), one_texel: bool = False) -> None:
    """A box of twelve triangles, the whole image on each of its sides, or one texel of it on all."""
    places, faces, uv = [], [], []
    for axis in range(3):
        for side in (-1, 1):
            right, up = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3] * side
            corners = [
                np.eye(3)[axis] * side + x * right + y * up for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))
            ]
            faces += [[len(places) + k for k in face] for face in ((0, 1, 2), (0, 2, 3))]
            places += corners
            uv += [(0.5, 0.5)] * 4 if one_texel else [(0, 0), (1, 0), (1, 1), (0, 1)]
    material = PBRMaterial(baseColorTexture=Image.fromarray(CRATE))
    visual = TextureVisuals(uv=np.array(uv, float), material=material)
    mesh = trimesh.Trimesh(np.array(places) * np.array(size) / 2, faces, process=False, visual=visual)
    mesh.export(path)


def areas(asset: Asset) -> np.ndarray:
    a, b, c = asset.vertices.astype(np.float64)[asset.faces].swapaxes(0, 1)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def longest_edge(asset: Asset) -> float:
    corners = asset.vertices[asset.faces]
    return float(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max())


def is_closed(asset: Asset) -> bool:
    _, place = np.unique(asset.vertices, axis=0, return_inverse=True)
    faces = place.reshape(-1)[asset.faces]
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return bool((np.unique(edges, axis=0, return_counts=True)[1] == 2).all())


@pytest.mark.parametrize("size", [(1, 1, 1), (0.3, 2, 0.05)])
def test_a_crate_with_a_border_is_blue_inside(tmp_path, size):
    write_crate(tmp_path / "a.glb", size)
    asset = load_asset(tmp_path / "a.glb", split=True)
    assert longest_edge(asset) <= max(size) / split.EDGES * 1.001
    assert is_closed(asset)
    whole = areas(load_asset(tmp_path / "a.glb")).sum()
    assert areas(asset).sum() == pytest.approx(whole, rel=1e-5)
    blue = areas(asset) @ (asset.corner_colors[..., 2].mean(axis=1) / 255) / whole
    assert blue == pytest.approx(0.8**2, abs=0.05)
    assert len(asset.faces) < split.MOST_FACES


def test_meshes_whose_corners_say_all_stay_as_they_are(tmp_path):
    """Whoever asks for the file's own faces, one colour a face, and no texture at all."""
    write_crate(tmp_path / "a.glb")
    write_crate(tmp_path / "b.glb", one_texel=True)
    trimesh.creation.box().export(tmp_path / "c.glb")
    for name, wanted in (("a", False), ("b", True), ("c", True)):
        assert len(load_asset(tmp_path / f"{name}.glb", split=wanted).faces) == 12


def test_there_is_a_most_number_of_faces(tmp_path, monkeypatch):
    write_crate(tmp_path / "a.glb")
    monkeypatch.setattr(split, "MOST_FACES", 5000)
    asset = load_asset(tmp_path / "a.glb", split=True)
    assert 1000 < len(asset.faces) <= 5000 and is_closed(asset)
    monkeypatch.setattr(split, "MOST_FACES", 12)
    assert len(load_asset(tmp_path / "a.glb", split=True).faces) == 12


def test_who_takes_corners_for_the_texture_gets_split_faces(tmp_path, monkeypatch):
    """Encoding and training; finishing and texturing keep the file's own faces."""
    write_crate(tmp_path / "a.glb")
    entries = read_catalogue(tmp_path)
    assert len(ObjectSource(entries).asset(0).faces) > 10000
    met = []

    def encode_mesh(networks, vertices, faces, colors):
        met.append(faces)
        return None, Frame(1.0, (0.0, 0.0, 0.0))

    monkeypatch.setattr(edit, "_networks", lambda options, model: None)
    monkeypatch.setattr(edit, "encode_mesh", encode_mesh)
    edit.open_asset(Namespace(asset=tmp_path / "a.glb"))
    assert len(met[0]) > 10000
    assert len(read_mesh(tmp_path / "a.glb", own_uv=False).mesh.faces) == 12


def test_what_was_prepared_of_other_faces_is_prepared_again(tmp_path, monkeypatch):
    write_crate(tmp_path / "a.glb")
    (entry,) = read_catalogue(tmp_path)

    def prepared() -> int:
        made = []
        kind = Records(tmp_path / "records", "kind", {})
        kind.prepare([entry], lambda: lambda _, asset: made.append(asset) or {"x": torch.zeros(1)})
        return len(made)

    assert (prepared(), prepared()) == (1, 0)
    monkeypatch.setattr(records, "READING", records.READING + 1)
    assert prepared() == 1
