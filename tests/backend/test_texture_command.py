"""The texture command on real files: what others read back, and an artist's own texture coordinates."""

import json
import struct
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from backend.geometry.mesh_files import load_asset
from backend.representations.gaussians import SH_C0, Gaussians, write_ply
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


def test_gaussians_beside_a_picture_fit_a_mesh_of_any_size(picture, tmp_path):
    shape = trimesh.creation.icosphere(3, radius=0.45)
    splats, colors, random = splats_on(shape), [], np.random.default_rng(3)
    face, share = random.integers(0, len(shape.faces), 4000), random.dirichlet((1, 1, 1), 4000)
    for scale in (1.0, 8.0):
        large = replace(splats, position=splats.position * scale + 3, scale=splats.scale * scale)
        write_ply(tmp_path / "splats.ply", large)
        trimesh.Trimesh(shape.vertices * scale + 3, shape.faces, process=False).export(tmp_path / "ball.ply")
        argv = [str(tmp_path / "ball.ply"), "--output", str(tmp_path), "--picture", str(picture), "--aligned"]
        assert main([*argv, "--gaussians", str(tmp_path / "splats.ply"), "--size", "512"]) == 0
        read = trimesh.load_scene(tmp_path / "ball_textured.glb", process=False).to_geometry()
        colors.append(_color_at(read, read.visual.material.baseColorTexture, face, share))
    assert (np.abs(colors[0] - colors[1]).max(axis=1) <= 16).mean() > 0.95


@pytest.mark.parametrize("kind", ["glb", "obj"])
def test_what_stands_far_away_keeps_its_shape(tmp_path, kind):
    ball, place = trimesh.creation.icosphere(3, 5.0), np.array([500123.4, 150.0, -4201234.5])
    lines = ["v {:.9f} {:.9f} {:.9f}".format(*one) for one in ball.vertices + place]
    lines += ["f {} {} {}".format(*one) for one in ball.faces + 1]
    (tmp_path / "far.obj").write_text("\n".join(lines))
    argv = [str(tmp_path / "far.obj"), "--output", str(tmp_path / "o"), "--size", "64", "--format", kind]
    assert main(argv) == 0
    made = load_asset(tmp_path / "o" / f"far_textured.{kind}")
    np.testing.assert_allclose(made.origin, (place[0], -place[2], place[1]), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(made.vertices, axis=1), 5, atol=1e-4)


@pytest.mark.parametrize("mode", ["MASK", "OPAQUE"])
def test_that_a_see_through_material_becomes_opaque_is_said(tmp_path, capsys, mode):
    shape = trimesh.creation.box()
    leaf = Image.fromarray(np.full((8, 8, 4), (0, 200, 0, 90), np.uint8))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=leaf, alphaMode=mode)
    shape.visual = trimesh.visual.TextureVisuals(uv=shape.vertices[:, :2] + 0.5, material=material)
    shape.export(tmp_path / "leaf.glb")
    assert main([str(tmp_path / "leaf.glb"), "--output", str(tmp_path), "--size", "64"]) == 0
    assert ("see-through" in capsys.readouterr().out) == (mode == "MASK")


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


@pytest.mark.parametrize("swatch", [(0.9, 0.9), (0.2, 0.9)], ids=["free", "taken"])
def test_faces_on_one_point_of_a_texture_keep_its_colour_or_are_named(tmp_path, capsys, swatch):
    """A square on the red left half of a texture, and a blue one whose coordinates are all in one point."""
    image = Image.new("RGB", (64, 64), (255, 0, 0))
    column, row = (int(one * 64) for one in (swatch[0], 1 - swatch[1]))
    image.paste((0, 0, 255), (column, row, column + 1, row + 1))
    image.save(tmp_path / "t.png")
    (tmp_path / "t.mtl").write_text("newmtl m\nmap_Kd t.png\n")
    lines = ["mtllib t.mtl", "usemtl m"]
    lines += [
        f"v {x} {y} 0" for left in (0, 2) for x, y in ((left, 0), (left + 1, 0), (left + 1, 1), (left, 1))
    ]
    lines += [
        f"vt {u} {v}" for u, v in ((0, 0), (0.5, 0), (0.5, 1), (0, 1), (swatch[0], swatch[1] - 1 / 128))
    ]
    lines += ["f 1/1 2/2 3/3 4/4", "f 5/5 6/5 7/5 8/5"]
    (tmp_path / "flat.obj").write_text("\n".join(lines))
    argv = [str(tmp_path / "flat.obj"), "--keep-uv", "--size", "32", "--output", str(tmp_path / "o")]
    assert main(argv) == 0
    said, made = capsys.readouterr().out, load_asset(tmp_path / "o" / "flat_textured.glb")
    assert ("2 faces have no texel" in said) == (swatch[0] < 0.5)
    if swatch[0] > 0.5:
        assert made.corner_colors[2:].reshape(-1, 3).tolist() == [[0, 0, 255]] * 6
    assert made.corner_colors[:2, 0, 0].tolist() == [255, 255]


def _checks(seed: int) -> Image.Image:
    """64², squares of 8 texels in random colours."""
    squares = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return Image.fromarray(squares).resize((64, 64), Image.Resampling.NEAREST)


def _box_uv(number: int) -> np.ndarray:
    """(36, 2) for a box: each of its 12 triangles has a cell of its own in one half of the texture."""
    cells = np.repeat(np.arange(12), 3)
    corner = np.tile([[0.02, 0.02], [0.23, 0.02], [0.02, 0.23]], (12, 1))
    return (corner + np.stack([cells % 4, cells // 4], axis=1) / 4) * (0.5, 1) + (number / 2, 0)


@pytest.fixture
def painted_boxes(tmp_path: Path) -> Path:
    """Two boxes with textures of their own, side by side in the texture, one mirrored, scaled and turned.

    The textures lie on the second of two sets of coordinates.
    """
    scene = trimesh.Scene()
    turned = trimesh.transformations.rotation_matrix(0.7, [1, 2, 3]) @ np.diag([-1.0, 0.5, 2.0, 1.0])
    turned[:3, 3] = 3, 0, 0
    for number, matrix in enumerate((np.eye(4), turned)):
        box = trimesh.creation.box()
        box.unmerge_vertices()
        uv = _box_uv(number)
        material = trimesh.visual.material.PBRMaterial(name=str(number), baseColorTexture=_checks(number))
        box.visual = trimesh.visual.TextureVisuals(uv=uv % 0.1, material=material)
        box.vertex_attributes["_SECOND"] = np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1).astype(np.float32)
        scene.add_geometry(box, transform=matrix)
    data = scene.export(file_type="glb")
    length = int.from_bytes(data[12:16], "little")
    document = json.loads(data[20 : 20 + length])
    for mesh in document["meshes"]:
        attributes = mesh["primitives"][0]["attributes"]
        attributes["TEXCOORD_1"] = attributes.pop("_SECOND")
    for material in document["materials"]:
        material["pbrMetallicRoughness"]["baseColorTexture"]["texCoord"] = 1
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    head = struct.pack("<4sIIII", b"glTF", 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A)
    (tmp_path / "boxes.glb").write_bytes(head + text + rest)
    return tmp_path / "boxes.glb"


def _color_at(mesh: trimesh.Trimesh, image: Image.Image, face: np.ndarray, share: np.ndarray) -> np.ndarray:
    uv = np.einsum("pkc,pk->pc", np.asarray(mesh.visual.uv)[mesh.faces[face]], share)
    size = np.array(image.size)
    column, row = np.minimum((uv * (1, -1) + (0, 1)) % 1 * size, size - 1).astype(int).T
    return np.asarray(image.convert("RGB")).astype(int)[row, column]


@pytest.mark.parametrize("keep", [True, False], ids=["own coordinates", "unwrapped"])
def test_what_no_picture_shows_keeps_its_own_texture(painted_boxes, tmp_path, keep):
    argv = [str(painted_boxes), "--output", str(tmp_path / "o"), "--size", "1024"]
    assert main(argv + ["--keep-uv"] * keep) == 0
    read = trimesh.load_scene(tmp_path / "o" / "boxes_textured.glb", process=False).to_geometry()
    source = [
        part for part in trimesh.load_scene(painted_boxes, process=False).dump() if len(part.faces) == 12
    ]
    assert len(source) == 2 and len(read.faces) == 24
    np.testing.assert_allclose(
        read.vertices[read.faces], np.concatenate([part.vertices[part.faces] for part in source]), atol=1e-5
    )
    random = np.random.default_rng(3)
    face = random.integers(0, 24, 4000)
    share = random.dirichlet((1, 1, 1), 4000)
    found = _color_at(read, read.visual.material.baseColorTexture, face, share)
    expected = np.empty_like(found)
    for place, part in enumerate(source):
        number = int(part.visual.material.name)
        here = face // 12 == place
        part.visual.uv = _box_uv(number)
        expected[here] = _color_at(part, _checks(number), face[here] - 12 * place, share[here])
    same = np.abs(found - expected).max(axis=1) <= 2
    assert same.mean() > 0.9  # all but places at borders of squares


def test_a_texture_that_cannot_be_opened_is_told_of_once(ball, tmp_path, caplog):
    next(tmp_path.glob("*.png")).write_bytes(b"no image")
    assert main([str(ball), "--output", str(tmp_path / "o"), "--size", "64"]) == 0
    assert caplog.text.count("cannot be opened") == 1


def test_vertices_without_faces_do_not_move_the_picture(picture, tmp_path):
    shape = trimesh.creation.icosphere(3)
    textures = []
    for number, loose in enumerate(([], [[500.0, 0, 0]])):
        vertices = np.concatenate([shape.vertices, np.reshape(loose, (-1, 3))])
        path = tmp_path / f"{number}.ply"
        trimesh.Trimesh(vertices, shape.faces, process=False).export(path)
        argv = [str(path), "--output", str(tmp_path), "--picture", str(picture), "--aligned"]
        assert main([*argv, "--size", "64"]) == 0
        read = trimesh.load_scene(tmp_path / f"{number}_textured.glb").to_geometry()
        textures.append(np.asarray(read.visual.material.baseColorTexture))
    np.testing.assert_array_equal(*textures)


@pytest.mark.parametrize("scale", [1e-30, 3e38])
def test_a_mesh_keeps_its_size_whatever_it_is(tmp_path, scale):
    box = trimesh.creation.box(extents=(2, 2, 2))
    box.apply_scale(scale)
    box.export(tmp_path / "box.ply")
    assert main([str(tmp_path / "box.ply"), "--output", str(tmp_path), "--size", "64"]) == 0
    read = trimesh.load_scene(tmp_path / "box_textured.glb", process=False).to_geometry()
    np.testing.assert_allclose(read.vertices.max(axis=0), [scale] * 3, rtol=1e-6)


def test_a_smooth_mesh_stays_so_whose_file_has_three_vertices_a_face(tmp_path):
    trimesh.creation.icosphere(3).export(tmp_path / "ball.stl")
    assert main([str(tmp_path / "ball.stl"), "--output", str(tmp_path), "--size", "64"]) == 0
    read = trimesh.load_scene(tmp_path / "ball_textured.glb", process=False).to_geometry()
    assert np.einsum("vi,vi->v", read.vertex_normals, read.vertices).min() > 0.99


def test_obj_files_hold_places_far_from_the_origin(tmp_path):
    box = trimesh.creation.box(bounds=[[50000.125, -7.25, 3], [50001.375, -6.75, 3.5]])
    box.export(tmp_path / "box.glb")
    argv = [str(tmp_path / "box.glb"), "--output", str(tmp_path), "--size", "64", "--format", "obj"]
    assert main(argv) == 0
    read = trimesh.load_scene(tmp_path / "box_textured.obj", process=False).to_geometry()
    np.testing.assert_allclose(read.bounds, box.bounds, atol=0.005)


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


def test_a_comparison_in_no_steps_writes_nothing(ball, tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        main([str(ball), "--output", str(tmp_path / "o"), "--size", "64", "--compare", "0"])
    assert left.value.code == 2 and "no number of steps" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


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
