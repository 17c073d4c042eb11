"""Meshes become latents, and what these decode to lies where the mesh was and looks like it."""

import numpy as np
import pytest
import torch
import trimesh
from tiny_model import write_tiny_encoders, write_tiny_model

from backend.edit import main as edit_main
from backend.encode import main as encode_main
from backend.errors import MissingModel, UserError
from backend.geometry.voxelize import voxelize
from backend.trellis import encode
from backend.trellis.asset import read_latents
from backend.trellis.decoding import StructuredLatent, decode
from backend.trellis.encode import encode_mesh
from backend.trellis.networks import Networks

RED, BLUE = [0.9, 0.1, 0.1], [0.1, 0.2, 0.9]
MIDDLE = np.array([30.0, -4.0, 7.0])


def ring() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A lying ring of radii 4 and 1 about MIDDLE, red where x is small and blue where it is large."""
    mesh = trimesh.creation.torus(4.0, 1.0, major_sections=96, minor_sections=48)
    colors = np.where(mesh.vertices[:, :1] < 0, RED, BLUE)
    return mesh.vertices + MIDDLE, np.asarray(mesh.faces), colors


@pytest.fixture(scope="module")
def starter() -> Networks:
    return Networks.open("starter", torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Networks:
    """The tiny model in the published layout, with encoders."""
    folder = write_tiny_model(tmp_path_factory.mktemp("encode") / "tiny")
    write_tiny_encoders(folder)
    return Networks.open(folder, torch.device("cpu"), torch.float32)


def test_the_starters_twin_lies_on_the_mesh_and_has_its_colours(starter):
    asset, frame = encode_mesh(starter, *ring())
    assert frame.scale == pytest.approx(10 / 0.98) and np.allclose(frame.offset, MIDDLE)
    mesh = decode(starter, "mesh", StructuredLatent(asset.coords, asset.feats, asset.resolution))
    points = frame.to_world(mesh.vertices.numpy()) - MIDDLE
    distance = np.hypot(np.hypot(points[:, 0], points[:, 1]) - 4, points[:, 2]) - 1
    # 1/128 of the object, a fine cube, is 0.08; the decoder thickens surfaces by about as much.
    assert np.abs(distance).mean() < 0.15 and np.quantile(np.abs(distance), 0.95) < 0.3
    for side, color in ((points[:, 0] < -1, RED), (points[:, 0] > 1, BLUE)):
        assert np.abs(mesh.colors.numpy()[side].mean(0) - color).max() < 0.15


def test_the_voxels_are_those_of_the_mesh_and_agree_with_each_other(starter):
    asset, frame = encode_mesh(starter, *ring())
    vertices, faces, _ = ring()
    touched = np.zeros((64, 64, 64), bool)
    touched[tuple(voxelize(frame.to_unit(vertices), faces, 64, normalise=False).T)] = True
    found = asset.occupied.numpy()
    assert (touched | ~found).all() and found.sum() > 0.85 * touched.sum()
    pooled = torch.nn.functional.max_pool3d(asset.occupied[None, None].float(), 2)[0, 0]
    assert torch.equal(torch.argwhere(pooled > 0).int(), asset.coords)


def test_place_size_and_loose_vertices_do_not_matter(starter):
    vertices, faces, colors = ring()
    first, _ = encode_mesh(starter, vertices, faces, colors)
    # A power of two, and no shift that rounds: the same numbers in the unit cube.
    loose = np.concatenate([(vertices - MIDDLE) * 4 + 4 * MIDDLE, [[1e6, 0, 0]]])
    second, frame = encode_mesh(starter, loose, faces, colors[faces])
    assert frame.scale == pytest.approx(40 / 0.98)
    assert torch.equal(first.coords, second.coords)
    assert torch.allclose(first.feats, second.feats, atol=1e-2)


def test_published_encoders_read_views(published):
    vertices, faces, colors = ring()
    told = []
    asset, frame = encode_mesh(published, vertices, faces, colors, lambda *now: told.append(now))
    assert frame.scale == pytest.approx(10)
    assert np.array_equal(asset.coords.numpy(), voxelize(vertices, faces, 16))
    assert asset.feats.shape == (len(asset.coords), 4) and asset.structure_latent.shape == (1, 4, 4, 4, 4)
    assert len({done for _, done, of in told if of > 1}) > 1  # between views, so that a job can be stopped
    other, _ = encode_mesh(published, vertices, faces, 1 - colors)
    assert torch.equal(asset.coords, other.coords) and not torch.allclose(asset.feats, other.feats)


def test_more_voxels_than_the_model_holds_are_one_sentence(published, monkeypatch):
    monkeypatch.setattr(encode, "MOST_VOXELS", 50)
    with pytest.raises(UserError, match="50 are the most"):
        encode_mesh(published, *ring())


def test_a_model_without_encoders_says_what_to_download(tiny_model):
    networks = Networks.open(tiny_model, torch.device("cpu"), torch.float32)
    with pytest.raises(MissingModel, match="download"):
        encode_mesh(networks, *ring())


TURN = np.linalg.qr(np.array([[1.0, 2, 3], [0, 1, 4], [5, 6, 0]]))[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v, f, c: (v, f[:0], c), "no faces"),
        (lambda v, f, c: (np.where(v == v[3], np.nan, v), f, c), "coordinates that are not finite"),
        (lambda v, f, c: (v, f, c * np.inf), "colours that are not finite"),
        (lambda v, f, c: (v[:-9], f, c), "does not have"),
        (lambda v, f, c: (v, f - 1, c), "does not have"),
        (lambda v, f, c: (v * [1, 1, 0], f, c), "flat"),
        (lambda v, f, c: ((v * [1, 0, 0]) @ TURN, f, c), "flat"),
        (lambda v, f, c: ((v * [1, 1, 0]) @ TURN, f, c), "flat"),
        (lambda v, f, c: (v * 0, f, c), "one place"),
        (lambda v, f, c: (v, np.tile(f, (300, 1)), c), "2,000,000 are the most"),
    ],
)
def test_what_cannot_be_encoded_is_one_sentence(starter, change, words):
    with pytest.raises(UserError, match=words):
        encode_mesh(starter, *change(*ring()))


def test_the_commands_take_a_mesh(tmp_path, capsys):
    vertices, faces, colors = ring()
    mesh = trimesh.Trimesh(vertices, faces, vertex_colors=(colors * 255).astype(np.uint8), process=False)
    mesh.export(tmp_path / "ring.ply")
    common = ["--output", str(tmp_path), "--formats", "gaussian", "--precision", "fp32", "--device", "cpu"]
    assert encode_main([str(tmp_path / "ring.ply"), *common, "--name", "twin"]) == 0
    assert "mesh = asset * 10.2041 + (30, -4, 7)" in capsys.readouterr().err
    twin = read_latents(tmp_path / "twin.latents.safetensors")
    assert (tmp_path / "twin.ply").is_file() and twin.model == "starter"
    (tmp_path / "half.json").write_text('{"boxes": [{"center": [0.3, 0, 0], "size": [0.6, 1, 1]}]}')
    remove = ["--region", str(tmp_path / "half.json"), "--mode", "remove"]
    assert edit_main([str(tmp_path / "ring.ply"), *common, *remove]) == 0
    rest = read_latents(tmp_path / "ring_edited.latents.safetensors")
    kept, there = twin.coords[:, 0] < 16, rest.coords[:, 0] < 16
    assert torch.equal(rest.coords[there], twin.coords[kept])
    assert torch.equal(rest.feats[there], twin.feats[kept])
    assert rest.coords[:, 0].max() == 16  # the lid
    assert edit_main([str(tmp_path / "ring.ply"), *common, *remove, "--open-cut"]) == 0
    assert read_latents(tmp_path / "ring_edited.latents.safetensors").coords[:, 0].max() == 15
    (tmp_path / "empty.obj").write_text("v 0 0 0\n")
    assert encode_main([str(tmp_path / "empty.obj"), *common]) == 2
    assert "Traceback" not in capsys.readouterr().err
