"""OBJ files as other tools write them, and their materials."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.geometry.mesh_files import Asset, load_asset, read_parts

TETRAHEDRON = "v 0 0 0\nv 1 0 0\nv 0 2 0\nv 0 0 3\n"
FACES = "f 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
# One texel of the image a corner: red, green, blue, yellow.
UV = "vt .1 .9\nvt .9 .9\nvt .1 .1\nvt .9 .1\n"
TEXTURED = "mtllib a.mtl\n" + TETRAHEDRON + UV + "usemtl m\nf 1/1 3/3 2/2\nf 1/1 2/2 4/4\n"
CORNERS = {(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)}


def read(folder: Path, text: str) -> Asset:
    (folder / "a.obj").write_bytes(text.encode("latin-1"))
    return load_asset(folder / "a.obj")


def volume(asset: Asset) -> float:
    a, b, c = asset.vertices.astype(np.float64)[asset.faces].swapaxes(0, 1)
    return float((a * np.cross(b, c)).sum() / 6)


def colors(asset: Asset) -> set[tuple[int, ...]]:
    return {tuple(color) for color in asset.corner_colors.reshape(-1, 3).tolist()}


def write_image(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.uint8([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]])).save(path)


def test_numbers_that_count_back_from_each_object(tmp_path):
    block = TETRAHEDRON + "f -4 -2 -3\nf -4 -3 -1\nf -4 -1 -2\nf -3 -2 -1\n"
    moved = block.replace("v 0", "v 10").replace("v 1 ", "v 11 ")
    asset = read(tmp_path, f"o a\n{block}o b\n{moved}")
    assert volume(asset) == pytest.approx(2)
    assert (asset.vertices[asset.faces[:4]][..., 0] <= 1).all()
    assert (asset.vertices[asset.faces[4:]][..., 0] >= 10).all()


@pytest.mark.parametrize(
    "text",
    [
        TETRAHEDRON + FACES,
        (TETRAHEDRON + FACES).replace("\n", "\r\n"),
        (TETRAHEDRON + FACES).replace(" ", "\t"),
        (TETRAHEDRON + FACES).replace("v ", "  v   ").replace("\n", "  \n"),
        TETRAHEDRON + FACES.replace("1 3", "1 \\\n3"),
        "# caf\xe9\ng stra\xdfe\n" + TETRAHEDRON + FACES.replace("2\n", "2 # the first\n", 1),
        TETRAHEDRON.replace("\n", " 1.0\n") + "l 1 2\np 1\n" + FACES,
        FACES + TETRAHEDRON.replace("2 0", "2.0e+00 -0.0E-1"),
        TETRAHEDRON + UV + "vn 0 0 1\nf 1/1/1 3/3/1 2/2/1\nf 1//1 2//1 4//1\nf 1/ 4/ 3/\nf 2 3/3 4\n",
        "\ufeff".encode().decode("latin-1") + TETRAHEDRON + "s off\n" + FACES + "f 1 2\n",
    ],
)
def test_ways_to_write_the_same(tmp_path, text):
    asset = read(tmp_path, text)
    assert len(asset.faces) == 4 and volume(asset) == pytest.approx(1)


def test_polygons_that_turn_inwards_are_cut_inside(tmp_path):
    """The sides of a U with five, eight and four corners."""
    u = [(0, 0), (3, 0), (3, 3), (2, 3), (2, 1), (1, 1), (1, 3), (0, 3)]
    n = len(u)
    text = "".join(f"v {x} {y} {z}\n" for z in (0, 1) for x, y in u)
    text += "f " + " ".join(str(k) for k in range(n, 0, -1)) + "\n"
    text += "f " + " ".join(str(n + k) for k in range(1, n + 1)) + "\n"
    text += "".join(f"f {k + 1} {(k + 1) % n + 1} {n + (k + 1) % n + 1} {n + k + 1}\n" for k in range(n))
    asset = read(tmp_path, text)
    a, b, c = asset.vertices[asset.faces].swapaxes(0, 1)
    assert volume(asset) == pytest.approx(7)
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2 == pytest.approx(30)


@pytest.mark.parametrize(
    "named, stored",
    [
        ("t.png", "t.png"),
        ("my tex.png", "my tex.png"),
        ("-s 1 1 1 t.png", "t.png"),
        ("-bm 0.5 -o 0 0 0 -mm 0 1 -clamp on sub/t.png", "sub/t.png"),
        ("sub\\t.png", "sub/t.png"),
        ("C:\\art\\textures\\t.png", "t.png"),
    ],
)
def test_images_are_found_however_they_are_named(tmp_path, named, stored):
    write_image(tmp_path / stored)
    (tmp_path / "a.mtl").write_text(f"newmtl m\n\tKd 1 1 1\n\tmap_Kd {named}\n")
    assert colors(read(tmp_path, TEXTURED)) == CORNERS


def test_an_image_may_be_scaled_and_moved_and_end_at_its_border(tmp_path):
    write_image(tmp_path / "t.png")
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd -s 0.5 1 1 -o 0.5 0 0 t.png\n")
    assert colors(read(tmp_path, TEXTURED)) == {(0, 255, 0), (255, 255, 0)}
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd -clamp on -o 1 0 t.png\n")
    assert colors(read(tmp_path, TEXTURED)) == {(0, 255, 0), (255, 255, 0)}
    np.testing.assert_array_equal(read_parts(tmp_path / "a.obj")[0].uv[0], [0.1, 0.9])  # the file's own


@pytest.mark.parametrize("u, shade", [(0.2, 0), (0.3, 10), (0.7, 20), (20.2, 0), (-0.3, 20), (1.0, 30)])
def test_the_texel_that_coordinates_lie_in_is_taken(tmp_path, u, shade):
    Image.fromarray(np.uint8([[[10 * n] * 3 for n in range(4)]])).save(tmp_path / "t.png")
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd t.png\n")
    text = f"mtllib a.mtl\n{TETRAHEDRON}vt {u} .5\nusemtl m\nf 1/1 3/1 2/1\n"
    assert colors(read(tmp_path, text)) == {(shade,) * 3}


def test_an_image_that_is_not_there_is_named(tmp_path, caplog):
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 0 1 0\nmap_Kd nowhere.png\n")
    assert colors(read(tmp_path, TEXTURED)) == {(0, 255, 0)}
    assert "nowhere.png" in caplog.text and "a.obj" in caplog.text


def test_materials_come_from_every_library(tmp_path, caplog):
    (tmp_path / "a.mtl").write_text("newmtl one\nKd 1 0 0\n")
    (tmp_path / "my b.mtl").write_text("newmtl the other\nKd 0 0 1\n")
    text = TETRAHEDRON + "usemtl one\nf 1 3 2\nusemtl the other\nf 1 2 4\n"
    libraries = "mtllib a.mtl\nmtllib my b.mtl\n"
    assert colors(read(tmp_path, libraries + text)) == {(255, 0, 0), (0, 0, 255)}
    (tmp_path / "b.mtl").write_bytes((tmp_path / "my b.mtl").read_bytes())
    assert colors(read(tmp_path, "mtllib a.mtl b.mtl\n" + text)) == {(255, 0, 0), (0, 0, 255)}
    assert not caplog.text
    assert colors(read(tmp_path, "mtllib a.mtl\nmtllib c.mtl\n" + text)) == {(255, 0, 0), (102,) * 3}
    assert "c.mtl" in caplog.text


def test_faces_of_one_material_may_lack_coordinates(tmp_path):
    write_image(tmp_path / "t.png")
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 0 0 0\nmap_Kd t.png\n")
    asset = read(tmp_path, TEXTURED + "f 1 4 3\n")
    assert colors(asset) == CORNERS | {(0, 0, 0)}
    assert [part.uv is None for part in read_parts(tmp_path / "a.obj")] == [True, False]


@pytest.mark.parametrize("painted", ["1 0.5 0", "255 127.5 0"])
def test_colours_of_vertices_are_fractions_or_bytes(tmp_path, painted):
    lines = [f"v {place} {painted}" for place in ("0 0 0", "1 0 0", "1 1 0")]
    asset = read(tmp_path, "\n".join([*lines, "f 1 2 3"]))
    assert asset.corner_colors.tolist() == [[[255, 128, 0]] * 3]
