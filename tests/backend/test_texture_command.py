"""The texture command on real files: what others read back, and an artist's own texture coordinates."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from backend.representations.gaussians import SH_C0, Gaussians
from backend.representations.mesh import Mesh
from backend.texture import main
from backend.texture.comparison import compare
from backend.texturing.settings import TextureSettings


def splats_on(shape: trimesh.Trimesh, count: int = 4000, opacity: float = 0.95) -> Gaussians:
    """A dense layer of Gaussians on a surface, coloured by place."""
    points = trimesh.sample.sample_surface(shape, count, seed=1)[0]
    return Gaussians(
        torch.tensor(points, dtype=torch.float32),
        torch.tensor((0.5 + 0.8 * points - 0.5) / SH_C0, dtype=torch.float32),
        torch.full((count, 1), opacity),
        torch.full((count, 3), 0.012),
        torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(count, 1),
    )


@pytest.fixture
def ball(tmp_path: Path) -> Path:
    """A ball far from the origin and large, with latitude and longitude as its own coordinates."""
    shape = trimesh.creation.uv_sphere(radius=2.0, count=[24, 24])
    x, y, z = shape.vertices.T
    uv = np.stack([np.arctan2(y, x) / (2 * np.pi) + 0.5, z / 4 + 0.5], axis=1)
    image = Image.new("RGB", (4, 4), (30, 60, 200))
    shape.update_faces(np.ptp(uv[shape.faces, 0], axis=1) < 0.5)  # none goes back across the whole texture
    shape.visual = trimesh.visual.TextureVisuals(uv=uv, image=image)
    shape.apply_translation([10, 0, 0])
    shape.export(tmp_path / "ball.obj")
    return tmp_path / "ball.obj"


def test_an_artists_mesh_keeps_place_and_coordinates(ball, picture, tmp_path, capsys):
    output = tmp_path / "out"
    wanted = trimesh.load_scene(ball, process=False).to_geometry()
    argv = [str(ball), "--output", str(output), "--picture", str(picture), "--aligned", "--keep-uv"]
    assert main([*argv, "--size", "128"]) == 0
    assert capsys.readouterr().out == "ball_textured.glb\n"
    read = trimesh.load_scene(output / "ball_textured.glb", process=False).to_geometry()
    assert len(read.faces) == len(wanted.faces)
    np.testing.assert_allclose(read.vertices[read.faces], wanted.vertices[wanted.faces], atol=1e-4)
    np.testing.assert_allclose(read.visual.uv[read.faces], wanted.visual.uv[wanted.faces], atol=1e-4)
    texture = np.asarray(read.visual.material.baseColorTexture).astype(int)
    assert (np.abs(texture - [30, 60, 200]).max(axis=-1) > 60).mean() > 0.2  # the picture is on it


LAYOUTS = {
    "halves on each other": (lambda uv: uv * (2, 1) % 1.0, "shared", 0),
    "mirrored": (lambda uv: (1, 0) + uv * (-1, 1), "", 0),
    "on a line": (lambda uv: uv * (1, 0), "cover no texel", 2),
    "the tile beside": (lambda uv: uv + (1, 0), "outside the texture", 2),
}


@pytest.mark.parametrize("change, words, code", LAYOUTS.values(), ids=LAYOUTS)
def test_odd_coordinates_are_used_or_named(ball, tmp_path, capsys, change, words, code):
    shape = trimesh.load_scene(ball, process=False).to_geometry()
    shape.visual.uv = change(shape.visual.uv)
    shape.export(tmp_path / "odd.glb")
    argv = [str(tmp_path / "odd.glb"), "--output", str(tmp_path / "o"), "--keep-uv", "--size", "64"]
    assert main(argv) == code
    said = capsys.readouterr()
    lines = (said.err or said.out).replace("odd_textured.glb\n", "")
    assert words in lines and lines.count("\n") == bool(words)


def test_obj_files_and_what_is_refused(ball, tmp_path, capsys):
    assert main([str(ball), "--output", str(tmp_path / "o"), "--size", "64", "--format", "obj"]) == 0
    assert capsys.readouterr().out.split() == ["ball_textured.obj", "ball_textured.mtl", "ball_textured.png"]
    trimesh.creation.box().export(tmp_path / "plain.ply")
    faults = {
        "no texture coordinates": ["plain.ply", "--keep-uv"],
        "does not exist": ["absent.glb"],
        "power of two": ["plain.ply", "--size", "100"],
        "give the Gaussians": ["plain.ply", "--compare", "3"],
    }
    for words, (name, *others) in faults.items():
        assert main([str(tmp_path / name), "--output", str(tmp_path / "o"), *others]) == 2
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1


def test_baking_is_as_good_as_optimising(tmp_path):
    """Few steps, views and texels; both textures are judged on views that neither has seen."""
    shape = trimesh.creation.icosphere(3, radius=0.4)
    mesh = Mesh(torch.tensor(shape.vertices).float(), torch.tensor(shape.faces))
    below = trimesh.creation.icosphere(3, radius=0.385)
    blue = replace(splats_on(below), color_dc=torch.tensor([[-1.5, -1.5, 1.5]]).repeat(4000, 1))
    veil = splats_on(shape, opacity=0.2)  # through which the blue is seen: no splat has the colour of both
    gaussians = Gaussians(
        *(torch.cat([getattr(one, part.name) for one in (veil, blue)]) for part in fields(veil)[:5])
    )
    found = compare(mesh, gaussians, TextureSettings(size=128), steps=150, views=12, size=96)
    assert found["optimised"].psnr > 24  # the other way does work
    assert found["baked"].psnr > 26 and found["baked"].psnr > found["optimised"].psnr
