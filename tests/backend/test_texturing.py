"""Textures: each texel shows what its place on the surface has, and nothing else."""

import io
import json
import os
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from backend.errors import UserError
from backend.representations.gaussians import SH_C0, Gaussians
from backend.representations.glb import write_textured_glb
from backend.representations.mesh import Mesh, TexturedMesh
from backend.representations.obj_files import write_obj
from backend.texturing.camera import Camera, around
from backend.texturing.fitting import ALL_ROUND, fit_camera
from backend.texturing.preview import render_texture
from backend.texturing.projection import PictureView
from backend.texturing.settings import TextureSettings
from backend.texturing.symmetry import mirrors
from backend.texturing.texels import texels_of
from backend.texturing.texture import texture_mesh
from backend.texturing.unwrap import MOST_FACES, charted, unwrap
from backend.trellis.finish import received_texture, with_finished
from backend.trellis.stages import Output
from blender_trellis.jobs.sent_arrays import sent
from blender_trellis.protocol import Edit, Finishing

SIX = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]]) * 0.8 + 0.1
"""Colours of a cube's sides +x, +y, +z, −x, −y, −z."""


def mesh_of(shape: trimesh.Trimesh, colors: np.ndarray | None = None) -> Mesh:
    stored = None if colors is None else torch.tensor(colors, dtype=torch.float32)
    faces = torch.tensor(np.asarray(shape.faces), dtype=torch.int64)
    return Mesh(torch.tensor(np.asarray(shape.vertices), dtype=torch.float32), faces, stored)


def cube(half: float = 0.4) -> trimesh.Trimesh:
    return trimesh.creation.box(extents=[2 * half] * 3)


def splats(positions: np.ndarray, colors: np.ndarray, scale: float) -> Gaussians:
    count = len(positions)
    return Gaussians(
        torch.tensor(positions, dtype=torch.float32),
        torch.tensor((colors - 0.5) / SH_C0, dtype=torch.float32),
        torch.full((count, 1), 0.9),
        torch.full((count, 3), scale),
        torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(count, 1),
    )


def six_sided_splats(half: float) -> Gaussians:
    """An opaque layer of Gaussians on each side of a cube, in that side's colour."""
    steps = (np.arange(60) + 0.5) / 60 * 2 * half - half
    a, b = (grid.ravel() for grid in np.meshgrid(steps, steps))
    positions, colors = [], []
    for axis in range(3):
        for sign in (1, -1):
            layer = np.empty((len(a), 3))
            layer[:, axis], layer[:, axis - 2], layer[:, axis - 1] = sign * half, a, b
            positions.append(layer)
            colors.append(np.tile(SIX[axis + (0 if sign > 0 else 3)], (len(a), 1)))
    return splats(np.concatenate(positions), np.concatenate(colors), 0.012)


def texel_facts(textured, size):
    """Image colours, positions and normals at all texels that show something."""
    flat = textured.faces.numpy()
    corners = textured.vertices.numpy()[flat]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    uv, smooth = textured.uv.numpy(), textured.normals.numpy()
    texels = texels_of(textured.vertices.numpy(), flat, uv, size, smooth, flat)
    colors = textured.image.reshape(-1, 3)[texels.place] / 255
    return colors, texels.position, normals[texels.face]


def test_a_cube_of_six_colours_gets_each_on_its_own_side():
    textured = texture_mesh(mesh_of(cube()), TextureSettings(size=128), six_sided_splats(0.4))
    colors, places, normals = texel_facts(textured, 128)
    inner = np.sort(np.abs(places), axis=1)[:, 1] < 0.35  # away from the edges, over which splats stand out
    assert inner.sum() > 3000
    side = np.abs(normals).argmax(1) + 3 * (normals.sum(1) < 0)
    assert set(side[inner]) == set(range(6))
    assert np.abs(colors - SIX[side])[inner].max() < 0.02


def test_vertex_colours_are_baked_where_there_are_no_splats():
    shape = trimesh.creation.icosphere(3, radius=0.4)
    textured = texture_mesh(mesh_of(shape, shape.vertices + 0.5), TextureSettings(size=256))
    colors, places, _ = texel_facts(textured, 256)
    assert np.abs(colors - (places + 0.5)).max() < 0.01
    far = splats(np.full((1, 3), 5.0), np.ones((1, 3)), 0.01)
    assert (
        texture_mesh(mesh_of(shape, shape.vertices + 0.5), TextureSettings(size=256), far).image
        == textured.image
    ).all()


@pytest.mark.parametrize("boxes", [0, 120])  # a few charts, hundreds of them
def test_texels_are_spread_evenly_and_use_the_texture(boxes):
    shape = trimesh.creation.torus(0.3, 0.12, major_sections=64, minor_sections=32)
    if boxes:
        sides = np.random.default_rng(0).uniform(0.02, 0.1, (boxes, 3))
        shape = trimesh.util.concatenate([trimesh.creation.box(extents=one) for one in sides])
    vertices, faces = np.asarray(shape.vertices), np.asarray(shape.faces)
    cut = unwrap(vertices, faces, 2048, 2)
    assert (cut.origin[cut.faces] == faces).all()
    space = np.asarray(trimesh.Trimesh(vertices, faces, process=False).area_faces)
    corners = cut.uv[cut.faces].astype(float)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    covered = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2
    assert (covered / space).std() < 0.15 * (covered / space).mean()
    assert covered.sum() > 0.6  # of the unit square


def test_no_seam_is_seen_between_texels():
    """Whoever reads a uniform red object between texels finds nothing but red, in smaller copies as well."""
    shape = trimesh.creation.icosphere(3, radius=0.4)
    red = np.tile([0.8, 0.2, 0.1], (len(shape.vertices), 1))
    textured = texture_mesh(mesh_of(shape, red), TextureSettings(size=256))
    assert np.abs(textured.image.astype(int) - [204, 51, 26]).max() <= 1
    shown = render_texture(textured, around(shape.vertices), 96)
    assert np.abs(shown[..., :3] - red[0])[shown[..., 3] > 0].max() < 0.01


@pytest.mark.parametrize("factor, worst", [(2, 0.04), (4, 0.1)])
def test_smaller_copies_of_the_image_hold_no_foreign_colour(factor, worst):
    """As graphics cards read them from afar: nothing of what lies between the charts comes in."""
    shape = trimesh.creation.icosphere(4, radius=0.4)
    colors = 0.6 + shape.vertices * 0.5
    textured = texture_mesh(mesh_of(shape, colors), TextureSettings(size=512))
    side = 512 // factor
    blocks = textured.image.reshape(side, factor, side, factor, 3).mean(axis=(1, 3))
    small = replace(textured, image=blocks.round().astype(np.uint8))
    camera = around(shape.vertices, azimuth=1.0)
    shown = render_texture(small, camera, 128, samples=1)
    ids, _ = camera.depths(shape.vertices, np.asarray(shape.faces), 128)
    inside = ids >= 0
    truth = colors[np.asarray(shape.faces)[ids[inside]]].mean(axis=1)
    error = np.abs(shown[..., :3][inside] - truth).max(axis=1)
    assert np.quantile(error, 0.99) < worst and error.mean() < 0.02


def test_pieces_of_one_size_are_not_taken_for_one_another():
    shape = trimesh.creation.icosphere(4, radius=0.4)
    faces = np.asarray(shape.faces)
    for _ in range(4):  # it went wrong as memory happened to be used again
        origin, joined, _ = charted(np.asarray(shape.vertices), faces, 512, 2)
        assert (origin[joined] == faces).all()


def test_both_sides_of_a_seam_show_the_same():
    shape = trimesh.creation.icosphere(4, radius=0.4)
    colors = 0.5 + 0.4 * np.sin(8 * shape.vertices)
    textured = texture_mesh(mesh_of(shape, colors), TextureSettings(size=512))
    for azimuth in (0.0, 2.0, 4.0):
        camera = around(shape.vertices, azimuth)
        shown = render_texture(textured, camera, 128, samples=1)
        ids, _ = camera.depths(shape.vertices, np.asarray(shape.faces), 128)
        inside = ids >= 0
        truth = colors[np.asarray(shape.faces)[ids[inside]]].mean(axis=1)
        assert np.abs(shown[..., :3][inside] - truth).max() < 0.12  # half a face of these colours


def two_plates() -> trimesh.Trimesh:
    """A small plate in front (towards −Y) of one twice as large."""
    front = trimesh.creation.box(extents=[0.4, 0.02, 0.4])
    back = trimesh.creation.box(extents=[0.8, 0.02, 0.8])
    return trimesh.util.concatenate(
        [front.apply_translation([0, -0.3, 0]), back.apply_translation([0, 0.3, 0])]
    )


def half_and_half(size: int = 256) -> np.ndarray:
    """A picture of something green to the left and yellow to the right, opaque all over."""
    pixels = np.zeros((size, size, 4), np.uint8)
    pixels[:, : size // 2] = 40, 200, 60, 255
    pixels[:, size // 2 :] = 240, 220, 30, 255
    return pixels


def test_what_is_hidden_from_the_picture_is_not_painted():
    shape = two_plates()
    blue = np.tile([0.1, 0.2, 0.9], (len(shape.vertices), 1))
    camera = around(shape.vertices, elevation=0.0)
    settings = TextureSettings(size=512)
    textured = texture_mesh(mesh_of(shape, blue), settings, pictures=[PictureView(half_and_half(), camera)])
    plain = texture_mesh(
        mesh_of(shape, blue),
        replace(settings, project_picture=False),
        pictures=[PictureView(half_and_half(), camera)],
    )
    assert np.abs(plain.image.astype(int) - [26, 51, 230]).max() <= 1
    colors, places, normals = texel_facts(textured, 512)
    towards = normals[:, 1] < -0.9
    front = towards & (places[:, 1] < 0) & (np.abs(places[:, [0, 2]]).max(1) < 0.15)
    left, right = front & (places[:, 0] < -0.05), front & (places[:, 0] > 0.05)
    assert np.abs(colors[left] - np.array([40, 200, 60]) / 255).max() < 0.02
    assert np.abs(colors[right] - np.array([240, 220, 30]) / 255).max() < 0.02
    margin = towards & (places[:, 1] > 0) & (places[:, 0] < -0.3) & (np.abs(places[:, [0, 2]]).max(1) < 0.34)
    assert np.abs(colors[margin] - np.array([40, 200, 60]) / 255).max() < 0.02
    # Behind the small plate one tone passes into another: no edge of 0.78, as in the picture, is there.
    behind = towards & (places[:, 1] > 0) & (np.abs(places[:, [0, 2]]).max(1) < 0.08)
    assert behind.sum() > 100 and np.ptp(colors[behind], axis=0).max() < 0.4


def test_from_its_camera_the_object_looks_like_the_picture():
    """Hue and saturation too: a yellow picture gives a yellow object, on its far side as well."""
    shape = trimesh.creation.icosphere(4, radius=0.4)
    y, x = np.mgrid[0:256, 0:256] / 256 - 0.5
    pixels = np.zeros((256, 256, 4), np.uint8)
    pixels[..., :3] = (
        np.stack([0.9 + 0 * x, 0.75 + 0.1 * np.sin(40 * x), 0.15 + 0.1 * np.sin(40 * y)], -1) * 255
    )
    pixels[..., 3] = 255 * (x**2 + y**2 < (0.5 / 1.2) ** 2)
    cream = np.tile([0.9, 0.85, 0.7], (len(shape.vertices), 1))
    camera = around(shape.vertices)
    textured = texture_mesh(
        mesh_of(shape, cream), TextureSettings(size=512), pictures=[PictureView(pixels, camera)]
    )
    shown = render_texture(textured, camera, 256)
    common = (shown[..., 3] > 0.99) & (pixels[..., 3] > 0)
    error = np.mean((shown[..., :3][common] - pixels[..., :3][common] / 255) ** 2)
    assert common.sum() > 20000 and -10 * np.log10(error) > 30
    behind = render_texture(textured, around(shape.vertices, azimuth=np.pi), 64)
    mean = Image.new("RGB", (1, 1), tuple((behind[..., :3][behind[..., 3] > 0].mean(0) * 255).astype(int)))
    hue, saturation, _ = mean.convert("HSV").getpixel((0, 0))
    assert abs(hue / 255 * 360 - 48) < 8 and abs(saturation / 255 - 0.83) < 0.1


def test_an_artists_own_coordinates_are_kept():
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    vertices = np.array([[-0.4, 0, -0.4], [0.4, 0, -0.4], [0.4, 0, 0.4], [-0.4, 0, 0.4]])
    uv = np.array([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]])[faces]
    mesh = Mesh(
        torch.tensor(vertices, dtype=torch.float32), torch.tensor(faces), torch.tensor(vertices + 0.5).float()
    )
    textured = texture_mesh(mesh, TextureSettings(size=64), uv=uv)
    assert len(textured.vertices) == 4  # nothing had to be cut
    np.testing.assert_allclose(textured.uv.numpy()[textured.faces.numpy()], uv, atol=1e-5)
    # Texel (row, column) shows x and z by its place in the texture: the lower left corner is the origin.
    expected = ((np.arange(64) + 0.5) / 64 - 0.5) + 0.5
    np.testing.assert_allclose(textured.image[32, 8:56, 0] / 255, expected[8:56], atol=0.01)
    np.testing.assert_allclose(textured.image[8:56, 32, 2] / 255, expected[::-1][8:56], atol=0.01)
    for bad in (uv[:1], uv + 3, uv * np.nan):
        with pytest.raises(UserError, match="texture coordinates"):
            texture_mesh(mesh, TextureSettings(size=64), uv=bad)


def striped(shape: trimesh.Trimesh, size: int) -> TexturedMesh:
    """A mesh whose texture has fine stripes of red and green, by height, which no vertex colour tells."""
    textured = texture_mesh(mesh_of(shape), TextureSettings(size=size))
    vertices, normals, faces = (
        part.numpy() for part in (textured.vertices, textured.normals, textured.faces)
    )
    texels = texels_of(vertices, faces, textured.uv.numpy(), size, normals, faces)
    red = np.floor(texels.position[:, 2] * 25) % 2 == 0
    image = textured.image.reshape(-1, 3).copy()
    image[texels.place] = np.where(red[:, None], (220, 30, 30), (30, 200, 60))
    return replace(textured, image=image.reshape(size, size, 3))


def test_what_an_edit_keeps_keeps_its_texture():
    """Also on other triangles; and what the edit has changed shows nothing of the texture before."""
    before = striped(trimesh.creation.icosphere(4, radius=0.4), 512)
    shape = trimesh.creation.uv_sphere(radius=0.4, count=[40, 40])
    kept = shape.vertices[:, 0] < 0
    blue = mesh_of(shape, np.tile([0.1, 0.2, 0.9], (len(shape.vertices), 1)))
    events = iter([Output("mesh", blue, kept=torch.tensor(kept))])
    finishing = Finishing(preset="raw", texture=512)
    _, output = with_finished(events, finishing, (), False, lambda *_: None, before)
    colors, places, _ = texel_facts(output.value.texture, 512)
    band = places[:, 2] * 25 % 1
    inner = (places[:, 0] < -0.06) & (band > 0.2) & (band < 0.8)
    wanted = np.where((np.floor(places[:, 2] * 25) % 2 == 0)[:, None], (220, 30, 30), (30, 200, 60)) / 255
    assert inner.sum() > 5000 and np.abs(colors - wanted)[inner].max() < 0.05
    changed = places[:, 0] > 0.06
    assert np.abs(colors[changed] - [0.1, 0.2, 0.9]).max() < 0.01


def test_a_texture_before_an_edit_that_is_none_is_one_sentence():
    arrays = {
        "finished_vertices": np.zeros((3, 3), np.float32),
        "finished_faces": np.array([[0, 1, 2]], np.int32),
        "finished_uv": np.full((1, 3, 2), 0.5, np.float32),
        "finished_texture": np.zeros((8, 8, 3), np.uint8),
    }
    found = received_texture(Edit("", arrays=sent(arrays)))
    assert found.image.shape == (8, 8, 3) and len(found.faces) == 1
    assert received_texture(Edit("")) is None
    for name, wrong in {
        "finished_faces": np.array([[0, 1, 3]], np.int32),
        "finished_uv": np.zeros((2, 3, 2), np.float32),
        "finished_vertices": np.full((3, 3), np.nan, np.float32),
        "finished_texture": np.zeros((8, 4, 3), np.uint8),
    }.items():
        with pytest.raises(UserError, match="finish the asset again"):
            received_texture(Edit("", arrays=sent(arrays | {name: wrong})))


def test_meshes_that_are_hardly_any():
    one = Mesh(
        torch.tensor([[0.0, 0, 0], [0.3, 0, 0], [0, 0.3, 0]]),
        torch.tensor([[0, 1, 2]]),
        torch.full((3, 3), 0.5),
    )
    assert np.abs(texture_mesh(one, TextureSettings(size=32)).image.astype(int) - 128).max() <= 1
    shape = cube()
    spoiled = np.concatenate([shape.faces, [[0, 0, 1], [2, 2, 2]]])  # faces without area
    mesh = replace(mesh_of(shape, np.full((8, 3), 0.5)), faces=torch.tensor(spoiled))
    textured = texture_mesh(mesh, TextureSettings(size=64), six_sided_splats(0.4))
    assert (textured.origin[textured.faces].numpy() == spoiled).all() and torch.isfinite(textured.uv).all()
    for scale in (1e-6, 1e-20, 1e20):
        other = texture_mesh(replace(one, vertices=one.vertices * scale), TextureSettings(size=32))
        assert 0.1 < np.ptp(other.uv.numpy(), axis=0).min() <= 1
    for places in (torch.zeros(3, 3), torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0.3, 0, 0]])):
        flat = texture_mesh(replace(one, vertices=places), TextureSettings(size=32))
        assert flat.image.shape == (32, 32, 3) and torch.isfinite(flat.uv).all()


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    faces=st.integers(1, 30),
    exponent=st.integers(-12, 12),
    fault=st.sampled_from(["", "flat", "line", "twice"]),
)
def test_any_faces_get_places_of_their_own(seed, faces, exponent, fault):
    """Random triangles through each other, of any size, some without area, some named twice."""
    rng = np.random.default_rng(seed)
    vertices, corners = rng.normal(size=(12, 3)), rng.integers(0, 12, (faces, 3))
    if fault in ("flat", "line"):
        vertices[:, 2 if fault == "flat" else slice(1, 3)] = 0
    if fault == "twice":
        corners = np.concatenate([corners, corners, corners[:, ::-1]])
    places = torch.from_numpy(vertices * 10.0**exponent).float()
    mesh = Mesh(places, torch.from_numpy(corners), torch.full((12, 3), 0.5))
    textured = texture_mesh(mesh, TextureSettings(size=64))
    assert (textured.origin[textured.faces].numpy() == corners).all()
    uv, found = textured.uv.numpy()[textured.faces.numpy()], vertices[corners]
    assert uv.min() >= 0 and uv.max() <= 1 and torch.isfinite(textured.normals).all()
    area = np.linalg.norm(np.cross(found[:, 1] - found[:, 0], found[:, 2] - found[:, 0]), axis=1)
    (a, b), (c, d) = (uv[:, 1] - uv[:, 0]).T, (uv[:, 2] - uv[:, 0]).T
    assert (np.abs(a * d - b * c)[area > 0.1] > 0).all()
    assert not (area > 0.1).any() or np.abs(textured.image.astype(int) - 128).max() <= 1


def test_what_cannot_be_textured_is_named():
    empty = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    with pytest.raises(UserError, match="no faces"):
        texture_mesh(empty, TextureSettings(size=64))
    broken = replace(mesh_of(cube()), vertices=torch.full((8, 3), torch.nan))
    with pytest.raises(UserError, match="no numbers"):
        texture_mesh(broken, TextureSettings(size=64))
    with pytest.raises(UserError, match="simplify"):
        unwrap(np.zeros((3, 3)), np.tile([0, 1, 2], (MOST_FACES + 1, 1)), 64, 2)
    for wrong in (
        {"size": 1000},
        {"size": 8192},
        {"padding": 500},
        {"material": "gold"},
        {"encoding": "ktx"},
    ):
        with pytest.raises(UserError, match="choose"):
            TextureSettings(**wrong)


@pytest.mark.parametrize("encoding", ["png", "jpeg", "webp"])
def test_the_glb_file_holds_mesh_and_texture(tmp_path, encoding):
    shape = trimesh.creation.icosphere(2, radius=0.4)
    settings = TextureSettings(size=64, material="glossy")
    textured = texture_mesh(mesh_of(shape, shape.vertices + 0.5), settings)
    write_textured_glb(tmp_path / "a.glb", textured, encoding)
    data = (tmp_path / "a.glb").read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    document = json.loads(data[20 : 20 + length])
    binary = data[28 + length :]
    assert len(binary) % 4 == 0 and 0 <= len(binary) - document["buffers"][0]["byteLength"] < 4
    view = document["bufferViews"][document["images"][0]["bufferView"]]
    assert view["byteOffset"] + view["byteLength"] == document["buffers"][0]["byteLength"]
    stored = Image.open(io.BytesIO(binary[view["byteOffset"] :][: view["byteLength"]]))
    assert stored.format == encoding.upper()
    lossless = encoding == "png"
    assert np.abs(np.asarray(stored).astype(int) - textured.image).mean() <= (0 if lossless else 4)
    material = document["materials"][0]["pbrMetallicRoughness"]
    assert material["roughnessFactor"] == 0.25 and material["baseColorTexture"] == {"index": 0}
    if encoding == "webp":
        assert document["extensionsRequired"] == ["EXT_texture_webp"]
        return
    read = trimesh.load_scene(tmp_path / "a.glb", process=False).to_geometry()
    colors = read.visual.to_color().vertex_colors[:, :3] / 255
    x, y, z = read.vertices.T  # y up
    assert np.abs(colors - (np.stack([x, -z, y], 1) + 0.5)).max() < (0.06 if lossless else 0.1)


def test_the_obj_file_is_read_back_by_another_program(tmp_path):
    shape = trimesh.creation.icosphere(2, radius=0.4)
    textured = texture_mesh(mesh_of(shape, shape.vertices + 0.5), TextureSettings(size=64))
    names = [path.name for path in write_obj(tmp_path / "a.obj", textured)]
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    read = trimesh.load_scene(tmp_path / "a.obj", process=False).to_geometry()
    assert len(read.faces) == len(shape.faces)
    colors = read.visual.to_color().vertex_colors[:, :3] / 255
    x, y, z = read.vertices.T
    assert np.abs(colors - (np.stack([x, -z, y], 1) + 0.5)).max() < 0.06


def test_the_files_of_an_object_whose_name_is_no_text_name_each_other(tmp_path):
    textured = texture_mesh(mesh_of(cube()), TextureSettings(size=64))
    path, material, image = write_obj(tmp_path / os.fsdecode(b"caf\xe9.obj"), textured)
    assert path.read_bytes().startswith(b"mtllib " + os.fsencode(material.name) + b"\n")
    assert material.read_bytes().endswith(b"map_Kd " + os.fsencode(image.name) + b"\n")


def test_the_files_of_a_box_have_flat_sides(tmp_path):
    shape = trimesh.creation.box((0.9, 0.6, 0.3))
    textured = texture_mesh(mesh_of(shape, shape.vertices + 0.5), TextureSettings(size=64))
    write_textured_glb(tmp_path / "a.glb", textured)
    write_obj(tmp_path / "a.obj", textured)
    for name in ("a.glb", "a.obj"):
        read = trimesh.load_scene(tmp_path / name, process=False).to_geometry()
        assert len(read.faces) == 12
        assert (np.einsum("fkc,fc->fk", read.vertex_normals[read.faces], read.face_normals) > 0.999).all()


def l_shape() -> trimesh.Trimesh:
    """A thing that looks different from every side."""
    foot = trimesh.creation.box(extents=[0.8, 0.4, 0.15]).apply_translation([0, 0, -0.3])
    back = trimesh.creation.box(extents=[0.15, 0.4, 0.6]).apply_translation([0.3, 0, 0.05])
    knob = trimesh.creation.icosphere(2, radius=0.15).apply_translation([-0.2, -0.2, -0.1])
    return trimesh.util.concatenate([foot, back, knob])


def picture_from(mesh: Mesh, camera: Camera, size: int = 256) -> np.ndarray:
    drawn = render_texture(texture_mesh(mesh, TextureSettings(size=256)), camera, size)
    return (drawn * 255).round().astype(np.uint8)


@pytest.mark.parametrize(("azimuth", "elevation"), [(0.6, 0.2), (3.9, 0.6)])
def test_the_camera_of_a_picture_is_found(azimuth, elevation):
    shape = l_shape()
    colors = 0.5 + shape.vertices
    truth = around(shape.vertices, azimuth, elevation, fov=0.5)
    pixels = picture_from(mesh_of(shape, colors), truth)
    fit = fit_camera(shape.vertices, shape.faces, pixels, colors, ALL_ROUND)
    assert fit.overlap > 0.95
    assert np.cos(fit.camera.azimuth - azimuth) > np.cos(np.radians(4))
    assert abs(fit.camera.elevation - elevation) < np.radians(6)
    off = fit.camera.project(shape.vertices)[:, :2] - truth.project(shape.vertices)[:, :2]
    assert np.linalg.norm(off, axis=1).max() < 0.03  # of the picture's width


def test_a_picture_of_something_else_is_left_out_and_said():
    shape = l_shape()
    mesh = mesh_of(shape, 0.5 + shape.vertices)
    pixels = np.zeros((128, 128, 4), np.uint8)
    pixels[60:68, 10:118] = pixels[10:118, 60:68] = 255  # a cross
    settings = TextureSettings(size=128)
    textured = texture_mesh(mesh, settings, pictures=[PictureView(pixels, aligned=False)])
    assert (textured.image == texture_mesh(mesh, settings).image).all()
    assert len(textured.remarks) == 1 and "Picture 1" in textured.remarks[0]


def test_a_picture_that_is_no_cut_out_is_refused():
    for shape in ((64, 64, 3), (64, 32, 4)):
        with pytest.raises(UserError, match="cut its object out"):
            PictureView(np.zeros(shape, np.uint8))


def test_the_far_side_of_a_symmetric_object_is_mirrored_on_request():
    """A camera from one side of a ball shows a red spot; mirrored, the other side has one as well."""
    shape = trimesh.creation.icosphere(4, radius=0.4).apply_scale([0.6, 1.0, 1.0])  # two upright planes
    blue = np.tile([0.2, 0.3, 0.8], (len(shape.vertices), 1))
    camera = around(shape.vertices, azimuth=np.pi / 2, elevation=0.0)  # on +x
    pixels = np.tile(np.array([51, 77, 204, 255], np.uint8), (256, 256, 1))
    pixels[100:156, 100:156, :3] = 220, 30, 30
    view = PictureView(pixels, camera)
    found = {}
    for symmetry in ("off", "auto"):
        settings = TextureSettings(size=256, symmetry=symmetry)
        colors, places, _ = texel_facts(texture_mesh(mesh_of(shape, blue), settings, pictures=[view]), 256)
        spot = np.linalg.norm(places[:, 1:], axis=1) < 0.05
        for side in (1, -1):
            found[symmetry, side] = colors[spot & (places[:, 0] * side > 0)].mean(axis=0)
    red = np.array([220, 30, 30]) / 255
    assert np.abs(found["off", 1] - red).max() < 0.05 and found["off", -1][2] > 0.5
    assert np.abs(found["auto", 1] - red).max() < 0.05 and np.abs(found["auto", -1] - red).max() < 0.1


def test_what_does_not_mirror_itself_is_told_from_what_does():
    assert mirrors(l_shape_points(mirrored=False)) == []
    assert len(mirrors(l_shape_points(mirrored=False), in_any_case=True)) == 1
    (plane,) = mirrors(l_shape_points(mirrored=True))
    assert abs(plane.normal @ [np.cos(0.4), np.sin(0.4), 0]) > 0.999


def l_shape_points(mirrored: bool) -> np.ndarray:
    """Points on a thing that does not mirror itself, or on it and its mirror image; turned by 0.4."""
    points = trimesh.sample.sample_surface(l_shape(), 3000, seed=1)[0]
    points[:, 1] *= 1 + points[:, 0]  # no longer its own mirror image from front to back
    if mirrored:
        points = np.concatenate([points, points * [-1, 1, 1]])
    c, s = np.cos(0.4), np.sin(0.4)
    return points @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])


def test_two_pictures_each_paint_what_they_see():
    shape = trimesh.creation.icosphere(3, radius=0.4)
    views = []
    for azimuth, color in ((0.0, (200, 40, 40, 255)), (np.pi, (40, 200, 40, 255))):
        pixels = np.tile(np.array(color, np.uint8), (128, 128, 1))
        views.append(PictureView(pixels, around(shape.vertices, azimuth, 0.0)))
    textured = texture_mesh(mesh_of(shape), TextureSettings(size=256), pictures=views)
    colors, places, _ = texel_facts(textured, 256)
    for side, color in ((-1, [200, 40, 40]), (1, [40, 200, 40])):
        chosen = places[:, 1] * side > 0.2
        assert np.abs(colors[chosen] - np.array(color) / 255).max() < 0.05


@pytest.mark.parametrize(
    "turned", [slice(None), slice(None, None, 2)], ids=["inside out", "every other face"]
)
def test_a_picture_paints_faces_however_they_are_turned(turned):
    shape = trimesh.creation.icosphere(3, radius=0.4)
    mesh, view = mesh_of(shape), PictureView(
        np.tile(np.array((200, 40, 40, 255), np.uint8), (128, 128, 1)), around(shape.vertices, 0.0, 0.0)
    )  # fmt: skip
    other = mesh.faces.clone()
    other[turned] = other[turned].flip(1)
    textured = texture_mesh(replace(mesh, faces=other), TextureSettings(size=256), pictures=[view])
    colors, places, _ = texel_facts(textured, 256)
    assert np.abs(colors[places[:, 1] < -0.2] - np.array([200, 40, 40]) / 255).max() < 0.05
    assert not textured.remarks
    a, b, c = (textured.vertices[textured.faces[:, k]] for k in range(3))
    own = textured.normals[textured.faces].mean(dim=1)
    if turned == slice(None):  # normals of the file belong to its faces as they are
        assert ((torch.linalg.cross(b - a, c - a) * own).sum(dim=1) > 0).all()


def test_a_picture_of_backs_alone_paints_nothing_and_that_is_said():
    plane = trimesh.Trimesh([[-0.4, 0, -0.4], [0.4, 0, -0.4], [0, 0, 0.4]], [[0, 2, 1]], process=False)
    pixels = np.tile(np.array((200, 40, 40, 255), np.uint8), (128, 128, 1))
    view = PictureView(pixels, around(plane.vertices, 0.0, 0.0))
    textured = texture_mesh(mesh_of(plane), TextureSettings(size=64), pictures=[view])
    assert len(textured.remarks) == 1 and "turn its faces round" in textured.remarks[0]


def test_many_charts_are_not_stretched_to_the_square():
    rng, boxes = np.random.default_rng(0), []
    for _ in range(300):
        turned = trimesh.transformations.random_rotation_matrix(rng.random(3))
        boxes.append(trimesh.creation.box(rng.uniform(0.02, 0.1, 3), turned))
        boxes[-1].apply_translation(rng.uniform(-0.5, 0.5, 3))
    shape = trimesh.util.concatenate(boxes)
    vertices, faces = np.asarray(shape.vertices, np.float32), np.asarray(shape.faces)
    _, cut, uv = charted(vertices, faces, 256, 2)
    sides = []
    for places in (vertices[faces], uv[cut]):
        edges = places[:, 1:].astype(np.float64) - places[:, :1]
        sides.append(edges @ edges.swapaxes(1, 2))
    stretch = np.sqrt(np.linalg.eigvals(np.linalg.solve(*sides)).real)
    assert np.median(stretch.max(axis=1) / stretch.min(axis=1)) < 1.15
