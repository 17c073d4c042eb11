"""Meshes as data: files of the product and of other tools, read with the colours that they state."""

import importlib.util
import os
from base64 import b64encode

import numpy as np
import pytest
import torch
import trimesh
from gltf_file import write_gltf_file

from backend.errors import UserError
from backend.finish import main as finish_main
from backend.geometry.mesh_files import load_asset, read_catalogue, read_parts
from backend.representations.gaussians import read_ply
from backend.representations.glb import write_glb
from backend.representations.mesh import Mesh
from backend.texture.mesh_source import read_mesh

TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4")


def test_the_products_own_glb_gives_its_colours_again(tmp_path):
    g = torch.Generator().manual_seed(0)
    mesh = Mesh(
        torch.rand(40, 3, generator=g) - 0.5,
        torch.stack([torch.randperm(40, generator=g)[:3] for _ in range(20)]),
        torch.rand(40, 3, generator=g),
    )
    mesh.colors[:20] *= 0.1  # where linear light in 8 bits would be too coarse
    write_glb(tmp_path / "a.glb", mesh)
    asset = load_asset(tmp_path / "a.glb")
    np.testing.assert_allclose(asset.vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(asset.faces, mesh.faces)
    expected = mesh.colors[mesh.faces].numpy() * 255
    np.testing.assert_allclose(asset.corner_colors, expected, atol=0.51)


@pytest.mark.parametrize("with_material", [False, True])
@pytest.mark.parametrize("width", [3, 4])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_vertex_colours_are_linear_and_tinted_by_the_material(tmp_path, dtype, width, with_material):
    largest = {"u1": 255, "u2": 65535, "f4": 1}[dtype]
    values = np.array([[0.2, 0.4, 1, 1], [0.6, 0, 0.8, 1], [1, 1, 1, 1]])[:, :width] * largest
    primitive = {"POSITION": TRIANGLE, "COLOR_0": values.astype("<" + dtype)}
    primitive |= {"material": 0} if with_material else {}
    factor = [0.5, 1.0, 0.25, 1.0]
    materials = [{"pbrMetallicRoughness": {"baseColorFactor": factor}}] if with_material else []
    write_gltf_file(tmp_path / "a.glb", [primitive], materials, [{"mesh": 0}])
    colors = load_asset(tmp_path / "a.glb").corner_colors[0]
    # sRGB of 0.2, 0.4, 0.6, 0.8 is 124, 170, 203, 231; of 0.1, 0.3, 0.5, 0.25 it is 89, 149, 188, 137.
    plain = [[124, 170, 255], [203, 0, 231], [255, 255, 255]]
    tinted = [[89, 170, 137], [149, 0, 124], [188, 255, 137]]
    assert np.abs(colors.astype(int) - (tinted if with_material else plain)).max() <= 1


def test_primitives_and_nodes_are_joined(tmp_path):
    """One primitive with indices and one without, the mesh placed twice, once mirrored."""
    red, blue = ({"pbrMetallicRoughness": {"baseColorFactor": c}} for c in ([1, 0, 0, 1], [0, 0, 1, 1]))
    first = {"POSITION": TRIANGLE, "indices": np.array([2, 0, 1], "<u2"), "material": 0}
    second = {"POSITION": TRIANGLE + np.float32([0, 0, 1]), "material": 1}
    nodes = [{"mesh": 0, "translation": [5, 0, 0]}, {"mesh": 0, "scale": [-1, 1, 1]}]
    write_gltf_file(tmp_path / "a.glb", [first, second], [red, blue], nodes)
    asset = load_asset(tmp_path / "a.glb")
    assert len(asset.faces) == 4
    assert sorted(map(tuple, asset.corner_colors[:, 0].tolist())) == [(0, 0, 255)] * 2 + [(255, 0, 0)] * 2
    assert asset.vertices[:, 0].min() == -1 and asset.vertices[:, 0].max() == 6
    a, b, c = asset.vertices[asset.faces].swapaxes(0, 1)
    # Mirrored or not, the front of every triangle looks along the file's +z, which is -y here.
    assert (np.cross(b - a, c - a)[:, 1] < 0).all()


def test_a_texture_is_multiplied_with_the_rest(tmp_path):
    from PIL import Image

    image = Image.new("RGB", (2, 2))
    for place, color in {(0, 0): (255, 0, 0), (1, 0): (188, 188, 188), (0, 1): (0, 0, 255)}.items():
        image.putpixel(place, color)
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=image, baseColorFactor=[255, 255, 255, 255]
    )
    uv = np.array([[0.25, 0.75], [0.75, 0.75], [0.25, 0.25]])  # trimesh counts from below
    mesh = trimesh.Trimesh(TRIANGLE, [[0, 1, 2]], process=False)
    mesh.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    for name in ("a.glb", "b.obj"):
        mesh.export(tmp_path / name)
        colors = load_asset(tmp_path / name).corner_colors[0]
        assert np.abs(colors.astype(int) - [[255, 0, 0], [188, 188, 188], [0, 0, 255]]).max() <= 1


def test_places_and_coordinates_may_be_integers(tmp_path):
    """As KHR_mesh_quantization has them: places as signed fractions that the node scales and moves, texture
    coordinates as whole numbers that the texture's transformation makes fractions.
    """
    from PIL import Image

    steps = np.array([[512, 1536], [3584, 1536], [512, 3584]], "<u2")
    image = Image.new("RGB", (2, 2))
    for place, color in {(0, 0): (255, 0, 0), (1, 0): (0, 255, 0), (0, 1): (0, 0, 255)}.items():
        image.putpixel(place, color)
    image.save(tmp_path / "image.png")
    transform = {"KHR_texture_transform": {"scale": [1 / 4096, 1 / 4096]}}
    materials = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0, "extensions": transform}}}]
    place = np.array([[-32768, 0, 0], [32767, 0, 0], [0, 16384, 0]], "<i2")
    primitive = {"POSITION": place, "TEXCOORD_0": steps, "material": 0}
    nodes = [{"mesh": 0, "translation": [5, 0, 0], "scale": [2, 2, 2]}]
    source = {"uri": "data:image/png;base64," + b64encode((tmp_path / "image.png").read_bytes()).decode()}
    write_gltf_file(
        tmp_path / "a.glb",
        [primitive],
        materials,
        nodes,
        textures=[{"source": 0}],
        images=[source],
        whole={"TEXCOORD_0"},
    )
    asset = load_asset(tmp_path / "a.glb")
    wanted = [[3, 0, 0], [7, 0, 0], [5, 0, 1]]  # z up
    np.testing.assert_allclose(asset.vertices[asset.faces[0]], wanted, atol=1e-4)
    np.testing.assert_array_equal(asset.corner_colors[0], [[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    uv = read_parts(tmp_path / "a.glb")[0].uv
    np.testing.assert_allclose(uv, (0, 1) + steps / 4096 * (1, -1))


def test_ply_colours_are_taken_as_they_are(tmp_path):
    colors = np.array([[1, 2, 3, 255], [200, 100, 0, 255], [255, 255, 255, 255]], np.uint8)
    trimesh.Trimesh(TRIANGLE, [[0, 1, 2]], vertex_colors=colors, process=False).export(tmp_path / "a.ply")
    np.testing.assert_array_equal(load_asset(tmp_path / "a.ply").corner_colors[0], colors[:, :3])


@pytest.mark.parametrize("uv", [True, False])
def test_plain_materials_of_an_obj_file_colour_its_faces(tmp_path, uv):
    """Two materials without images on a pyramid over a pentagon."""
    (tmp_path / "a.mtl").write_text("newmtl floor\nKd 1 0 0\nnewmtl roof\nKd 0 0.6 1\n")
    corner = "{0}/{0}" if uv else "{0}"
    places = ["0 0 0", "2 0 0", "3 2 0", "1 3 0", "-1 2 0", "1 1 2"]
    sides = [(n, n % 5 + 1, 6) for n in range(1, 6)]
    lines = ["mtllib a.mtl", *(f"v {place}" for place in places)]
    lines += [f"vt 0.{n} 0.{n * n % 7}" for n in range(6)] if uv else []
    lines += ["usemtl floor", "f " + " ".join(corner.format(n) for n in (5, 4, 3, 2, 1)), "usemtl roof"]
    lines += ["f " + " ".join(corner.format(n) for n in side) for side in sides]
    (tmp_path / "a.obj").write_text("\n".join(lines) + "\n")
    asset = load_asset(tmp_path / "a.obj")
    on_floor = (asset.vertices[asset.faces][..., 1] == 0).all(axis=1)  # the file's Z, turned
    assert on_floor.sum() == 3 and len(asset.faces) == 8
    assert (asset.corner_colors[on_floor] == (255, 0, 0)).all()
    assert (asset.corner_colors[~on_floor] == (0, 153, 255)).all()


@pytest.mark.parametrize("uv", [True, False])
def test_painted_vertices_of_an_obj_file_keep_their_colours(tmp_path, uv):
    colors = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    lines = [f"v {n} {n * n} 0 {r} {g} {b}" for n, (r, g, b) in enumerate(colors)]
    lines += ["vt 0 0", "vt 1 0", "vt 0 1", "f 1/1 2/2 3/3"] if uv else ["f 1 2 3"]
    (tmp_path / "a.obj").write_text("\n".join(lines) + "\n")
    asset = load_asset(tmp_path / "a.obj")
    found = dict(
        zip(asset.vertices[asset.faces[0], 0].tolist(), asset.corner_colors[0].tolist(), strict=True)
    )
    assert found == {0: [255, 0, 0], 1: [0, 255, 0], 2: [0, 0, 255]}


@pytest.mark.parametrize("text", ["", "v 0 0 0\nv 1 0 0\n", "v 0 0 0\nv 1 0 0\nl 1 2\n"])
def test_an_obj_file_without_faces_is_one_sentence(tmp_path, text):
    (tmp_path / "a.obj").write_text(text)
    with pytest.raises(UserError, match=r"a\.obj (holds no mesh|cannot be read)"):
        load_asset(tmp_path / "a.obj")


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".stl", ".ply", ".npz"])
def test_what_is_too_large_or_no_file_is_not_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.touch()
    os.truncate(path, 3 << 30)  # zeros that take no room
    with pytest.raises(UserError, match="at most 2048 MiB are read"):
        load_asset(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="is a folder"):
        load_asset(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes of POSIX")
def test_a_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.ply")
    for read in (load_asset, read_ply):
        with pytest.raises(UserError, match="named pipe"):
            read(tmp_path / "a.ply")


@pytest.mark.parametrize("name", ["chair.fbx", "chair.png", "chair.latents.safetensors", "chair"])
def test_a_format_that_is_not_read_is_told_with_those_that_are(tmp_path, name):
    (tmp_path / name).write_bytes(b"something")
    with pytest.raises(UserError, match=r"not read as a mesh; give \.glb, \.gltf, \.obj, \.ply, \.stl\."):
        load_asset(tmp_path / name)


def test_an_stl_file_that_is_cut_off_is_damaged(tmp_path):
    trimesh.creation.box().export(tmp_path / "a.stl")
    whole = (tmp_path / "a.stl").read_bytes()
    (tmp_path / "a.stl").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cut off or has no faces"):
        load_asset(tmp_path / "a.stl")


@pytest.mark.filterwarnings("error")
def test_coordinates_without_end_are_one_sentence(tmp_path):
    (tmp_path / "a.obj").write_text("v inf 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 inf\nf 1 2 4 3\n")
    with pytest.raises(UserError, match="broken coordinates"):
        load_asset(tmp_path / "a.obj")


def test_draco_without_its_package_is_named(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "DracoPy" else find(name))
    path = tmp_path / "a.glb"
    draco = ["KHR_draco_mesh_compression"]
    write_gltf_file(path, [{"POSITION": TRIANGLE}], [], [{"mesh": 0}], extensionsRequired=draco)
    with pytest.raises(UserError, match="install the package DracoPy"):
        load_asset(path)


def test_the_diffuse_colour_of_older_materials_is_their_colour(tmp_path):
    older = {"extensions": {"KHR_materials_pbrSpecularGlossiness": {"diffuseFactor": [0.5, 0, 1, 1]}}}
    write_gltf_file(tmp_path / "a.glb", [{"POSITION": TRIANGLE, "material": 0}], [older], [{"mesh": 0}])
    assert np.abs(load_asset(tmp_path / "a.glb").corner_colors[0].astype(int) - [188, 0, 255]).max() <= 1


def test_a_document_nested_without_end_is_one_sentence(tmp_path):
    (tmp_path / "a.gltf").write_text("[" * 100_000)
    with pytest.raises(UserError, match="cannot be read"):
        load_asset(tmp_path / "a.gltf")


def test_faces_of_vertices_that_are_not_there_are_one_sentence(tmp_path):
    head = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    head += "element face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n"
    for corner in (-1, 3):
        (tmp_path / "a.ply").write_text(f"{head}3 0 1 {corner}\n")
        with pytest.raises(UserError, match=r"a\.ply .*export it again as GLB"):
            load_asset(tmp_path / "a.ply")


def test_hidden_files_and_folders_are_no_objects_of_a_catalogue(tmp_path):
    for name in ("x.GLB", "._x.GLB", ".trash/y.glb", "folder.glb/z.ply"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [entry.name for entry in read_catalogue(tmp_path)] == ["folder.glb/z.ply", "x.GLB"]


def test_a_manifest_may_name_folders_and_come_from_a_spreadsheet(tmp_path):
    for name in ("chairs/a.glb", "tables/a.glb", "b.glb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    columns = "file,id,geo_group,family,brand,licence,attribution"
    rows = [f"{name},{name},g,f,0,CC0-1.0,me" for name in ("chairs/a.glb", "tables/a.glb", "elsewhere/b.glb")]
    (tmp_path / "manifest.csv").write_text("\n".join([columns, *rows]), encoding="utf-8-sig")
    found = [entry.path.relative_to(tmp_path).as_posix() for entry in read_catalogue(tmp_path)]
    assert found == ["chairs/a.glb", "tables/a.glb", "b.glb"]
    (tmp_path / "manifest.csv").write_text("file,id\na.glb,a\n")
    with pytest.raises(UserError, match="lacks the column attribution, brand"):
        read_catalogue(tmp_path)


def test_meshes_far_from_the_origin_keep_their_detail(tmp_path):
    """As surveys have them: a ball of a metre, half a million metres east and four million north."""
    ball = trimesh.creation.icosphere(3)
    place = np.array([512345.25, 120.0, -4312345.5])
    lines = [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in ball.vertices + place]
    lines += [f"f {a} {b} {c}" for a, b, c in ball.faces + 1]
    (tmp_path / "a.obj").write_text("\n".join(lines))
    asset = load_asset(tmp_path / "a.obj")
    wanted = np.stack([ball.vertices[:, 0], -ball.vertices[:, 2], ball.vertices[:, 1]], axis=1)
    np.testing.assert_allclose(asset.origin, [512345.25, 4312345.5, 120.0], atol=1e-4)
    np.testing.assert_allclose(asset.vertices[asset.faces], wanted[ball.faces], atol=2e-4)
    source = read_mesh(tmp_path / "a.obj", own_uv=False)
    np.testing.assert_allclose(source.middle + source.origin, [512345.25, 4312345.5, 120.0], atol=1e-4)
    assert finish_main([str(tmp_path / "a.obj"), "--output", str(tmp_path), "--preset", "film"]) == 0
    (finished,) = tmp_path.glob("*.glb")
    middle = load_asset(finished).origin
    np.testing.assert_allclose(middle, [512345.25, 4312345.5, 120.0], atol=1e-3)
    trimesh.creation.box().export(tmp_path / "b.obj")
    assert load_asset(tmp_path / "b.obj").origin == (0, 0, 0)
