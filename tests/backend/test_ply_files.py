"""PLY files as other tools write them."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.geometry.mesh_files import load_asset, read_parts

# A house: a square floor, four walls of which two are pentagons, and a roof of two rectangles.
PLACES = np.float32(
    [
        [[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]],
        [[0, 0, 1], [2, 0, 1], [2, 2, 1], [0, 2, 1]],
        [[1, 0, 2], [1, 2, 2], [9, 9, 9], [9, 9, 9]],
    ]
).reshape(-1, 3)[:10]
POLYGONS = [
    (3, 2, 1, 0),
    (0, 1, 5, 8, 4),
    (2, 3, 7, 9, 6),
    (1, 2, 6, 5),
    (3, 0, 4, 7),
    (5, 6, 9, 8),
    (4, 8, 9, 7),
]
FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


def head(form: str, vertices: int, faces: int, of_vertices: str = "", of_faces: str = "") -> str:
    lines = ["ply", f"format {form} 1.0", "comment TextureFile my image.png", f"element vertex {vertices}"]
    lines += [f"property float {axis}" for axis in "xyz"] + of_vertices.splitlines()
    lines += [f"element face {faces}", "property list uchar int vertex_indices", *of_faces.splitlines()]
    return "\n".join([*lines, "end_header", ""])


def write_house(path: Path, form: str, shades: bool) -> None:
    """Its faces grey of their number, if they have colours."""
    colors = "property uchar red\nproperty uchar green\nproperty uchar blue" if shades else ""
    written = head(form, len(PLACES), len(POLYGONS), of_faces=colors).encode()
    for place in PLACES:
        written += packed(form, "fff", *place.tolist())
    for number, polygon in enumerate(POLYGONS):
        more = (number,) * 3 if shades else ()
        written += packed(form, "B" + "i" * len(polygon) + "B" * len(more), len(polygon), *polygon, *more)
    path.write_bytes(written)


def packed(form: str, kinds: str, *values: float) -> bytes:
    if form == "ascii":
        return (" ".join(map(str, values)) + "\n").encode()
    return struct.pack(FORMATS[form] + kinds, *values)


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = vertices.astype(np.float64)[faces].swapaxes(0, 1)
    return float((a * np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize("shades", [False, True])
@pytest.mark.parametrize("form", FORMATS)
def test_triangles_squares_and_pentagons_may_be_mixed(tmp_path, form, shades):
    write_house(tmp_path / "a.ply", form, shades)
    asset = load_asset(tmp_path / "a.ply")
    assert len(asset.faces) == 2 * 5 + 3 * 2
    assert volume(asset.vertices, asset.faces) == pytest.approx(6)
    if shades:
        flat = asset.corner_colors
        assert (flat == flat[:, :1, :1]).all()
        assert flat[:, 0, 0].tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


def test_what_a_blender_file_has_besides_is_passed_over(tmp_path):
    """Coordinates of vertices in double precision before, and edges behind the faces."""
    text = head("binary_little_endian", 3, 1, "property double s\nproperty double t")
    text = text.replace(
        "end_header", "element edge 1\nproperty int vertex1\nproperty int vertex2\nend_header"
    )
    rows = b"".join(struct.pack("<fffdd", k % 2, k // 2, 0, k / 4, k / 8) for k in range(3))
    rows += struct.pack("<Biii", 3, 0, 1, 2) + struct.pack("<ii", 0, 1)
    (tmp_path / "a.ply").write_bytes(text.encode() + rows)
    (part,) = read_parts(tmp_path / "a.ply")
    np.testing.assert_array_equal(part.uv, [[0, 0], [0.25, 0.125], [0.5, 0.25]])
    assert part.faces.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    "kind, values",
    [("uchar", (0, 128, 255)), ("float", (0, 0.5, 1)), ("ushort", (0, 128 * 257, 65535))],
)
def test_colours_of_vertices_in_every_type(tmp_path, kind, values):
    colors = "\n".join(f"property {kind} {name}" for name in ("red", "green", "blue"))
    rows = [f"{n} {n * n} 0 {values[n]} {values[n]} 0" for n in range(3)]
    text = head("ascii", 3, 1, colors) + "\n".join([*rows, "3 0 1 2", ""])
    (tmp_path / "a.ply").write_text(text)
    found = load_asset(tmp_path / "a.ply").corner_colors[0]
    assert found.tolist() == [[0, 0, 0], [128, 128, 0], [255, 255, 0]]


@pytest.mark.parametrize("of_faces", [False, True])
def test_the_texel_that_coordinates_lie_in_is_taken(tmp_path, of_faces):
    """Fifths across an image of four texels: the former rounding took their neighbours."""
    Image.fromarray(np.uint8([[[10 * n] * 3 for n in range(4)]])).save(tmp_path / "my image.png")
    u = (0.2, 0.3, 0.7)
    if of_faces:
        text = head("ascii", 3, 1, "", "property list uchar float texcoord")
        text += "0 0 0\n1 0 0\n0 1 0\n3 0 1 2 6 " + " ".join(f"{one} 0.5" for one in u) + "\n"
    else:
        text = head("ascii", 3, 1, "property float s\nproperty float t")
        text += "".join(f"{n} {n * n} 0 {one} 0.5\n" for n, one in enumerate(u)) + "3 0 1 2\n"
    (tmp_path / "a.ply").write_text(text)
    assert load_asset(tmp_path / "a.ply").corner_colors[0, :, 0].tolist() == [0, 10, 20]


def test_a_texture_that_is_not_there_is_named(tmp_path, caplog):
    text = head("ascii", 3, 1, "property float s\nproperty float t")
    (tmp_path / "a.ply").write_text(text + "0 0 0 0 0\n1 0 0 1 0\n0 1 0 0 1\n3 0 1 2\n")
    assert (load_asset(tmp_path / "a.ply").corner_colors == 102).all()
    assert "my image.png" in caplog.text


def test_faces_of_several_textures_show_their_own(tmp_path):
    for name, shade in (("my image", (255, 0, 0)), ("b", (0, 0, 255))):
        Image.new("RGB", (8, 8), shade).save(tmp_path / f"{name}.png")
    written = head("ascii", 4, 3, "", "property list uchar float texcoord\nproperty int texnumber")
    written = written.replace("element vertex", "comment TextureFile b.png\nelement vertex")
    written += "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"
    written += "3 0 1 2 6 0 0 1 0 1 1 0\n3 0 2 3 6 0 0 1 1 0 1 1\n3 0 3 2 6 0 0 1 1 0 1 -1\n"
    (tmp_path / "a.ply").write_text(written)
    asset = load_asset(tmp_path / "a.ply")
    shown = sorted(map(tuple, asset.corner_colors[:, 0].tolist()))
    assert shown == [(0, 0, 255), (102, 102, 102), (255, 0, 0)]
    (tmp_path / "a.ply").write_text(written.replace("texnumber", "number"))
    assert set(map(tuple, load_asset(tmp_path / "a.ply").corner_colors[:, 0].tolist())) == {(255, 0, 0)}


def test_colours_of_faces_count_beside_coordinates_of_no_texture(tmp_path):
    of_faces = [
        "property list uchar float texcoord",
        *(f"property uchar {c}" for c in ("red", "green", "blue")),
    ]
    written = head("ascii", 4, 2, "", "\n".join(of_faces)).replace("comment TextureFile my image.png\n", "")
    written += "0 0 0\n1 0 0\n1 1 0\n0 1 0\n3 0 1 2 6 0 0 1 0 1 1 255 0 0\n3 0 2 3 6 0 0 1 1 0 1 0 9 0\n"
    (tmp_path / "a.ply").write_text(written)
    asset = load_asset(tmp_path / "a.ply")
    assert asset.corner_colors.tolist() == [[[255, 0, 0]] * 3, [[0, 9, 0]] * 3]
    (part,) = read_parts(tmp_path / "a.ply")
    np.testing.assert_array_equal(part.uv[part.faces][1], [[0, 0], [1, 1], [0, 1]])
