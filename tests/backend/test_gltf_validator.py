"""The Khronos validator finds nothing in any .glb file that the engine writes, not even a hint."""

import numpy as np
import pytest
import torch
import trimesh

from backend.representations.glb import write_glb, write_textured_glb
from backend.representations.mesh import Mesh
from backend.texturing.settings import MATERIALS, TextureSettings
from backend.texturing.texture import texture_mesh
from tests.gltf_validator import issues

SHAPE = trimesh.creation.icosphere(2, radius=0.4)


def mesh_with(faces: np.ndarray, colors: bool) -> Mesh:
    vertices = torch.tensor(np.asarray(SHAPE.vertices), dtype=torch.float32)
    return Mesh(vertices, torch.tensor(faces), vertices + 0.5 if colors else None)


@pytest.mark.parametrize("colors", [False, True])
def test_meshes_with_and_without_vertex_colours(tmp_path, colors):
    write_glb(tmp_path / "a.glb", mesh_with(np.asarray(SHAPE.faces), colors))
    assert issues(tmp_path / "a.glb") == []


@pytest.mark.parametrize(
    "encoding, material", list(zip(("png", "jpeg", "webp", "png"), MATERIALS, strict=True))
)
def test_textures_in_every_encoding(tmp_path, encoding, material):
    textured = texture_mesh(mesh_with(np.asarray(SHAPE.faces), True), TextureSettings(64, material=material))
    write_textured_glb(tmp_path / "a.glb", textured, encoding)
    assert issues(tmp_path / "a.glb") == []


def test_faces_that_name_a_vertex_twice_and_vertices_that_no_face_has(tmp_path):
    faces = np.concatenate([np.asarray(SHAPE.faces)[:40], [[0, 0, 1], [2, 3, 2]]])
    write_glb(tmp_path / "a.glb", mesh_with(faces, True))
    write_textured_glb(tmp_path / "b.glb", texture_mesh(mesh_with(faces, True), TextureSettings(64)))
    assert issues(tmp_path / "a.glb") == issues(tmp_path / "b.glb") == []
    (read,) = trimesh.load(tmp_path / "a.glb", process=False).geometry.values()
    assert len(read.faces) == 40
