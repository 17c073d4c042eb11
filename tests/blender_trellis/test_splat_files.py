"""Files of splats: written and read again, rounded as their layout says, and damaged ones refused."""

import gzip
import os
import struct

import numpy as np
import pytest

from blender_trellis.faults import Fault
from blender_trellis.splats import harmonics, quaternions
from blender_trellis.splats.files import WRITERS, read_splats
from blender_trellis.splats.ply import property_names, write_ply
from blender_trellis.splats.values import Splats
from tests.blender_trellis.test_splat_values import covariances, some_splats


def _alpha(splats: Splats) -> np.ndarray:
    return 1 / (1 + np.exp(-splats.opacity))


def _sorted(splats: Splats) -> Splats:
    return splats.taken(np.lexsort(splats.position.round(1).T))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes of POSIX")
@pytest.mark.parametrize("suffix", [".ply", ".splat", ".spz"])
def test_what_has_no_end_is_not_waited_for(tmp_path, suffix):
    os.mkfifo(tmp_path / f"a{suffix}")
    with pytest.raises(Fault, match="is no ordinary file"):
        read_splats(tmp_path / f"a{suffix}")
    with open(tmp_path / f"b{suffix}", "wb") as file:
        file.truncate(5 << 30)  # zeros that take no room
    with pytest.raises(Fault, match="larger than 4 GB"):
        read_splats(tmp_path / f"b{suffix}")


@pytest.mark.parametrize("count", [0, 3, 8, 15])
def test_the_3dgs_layout_keeps_every_value(tmp_path, count):
    splats = some_splats(300, count)
    write_ply(tmp_path / "a.ply", splats)
    read, left_out = read_splats(tmp_path / "a.ply")
    assert left_out == 0 and read.degree == splats.degree
    for name in ("position", "f_dc", "opacity", "scale", "f_rest"):
        np.testing.assert_array_equal(getattr(read, name), getattr(splats, name))
    np.testing.assert_allclose(covariances(read), covariances(splats), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("count", [0, 15])
def test_one_splat_comes_back_and_none_is_a_sentence(tmp_path, layout, count):
    WRITERS[layout](tmp_path / "one.ply", some_splats(1, count))
    np.testing.assert_array_equal(
        read_splats(tmp_path / "one.ply")[0].position, some_splats(1, count).position
    )
    WRITERS[layout](tmp_path / "none.ply", some_splats(0, count))
    with pytest.raises(Fault, match="holds no splats"):
        read_splats(tmp_path / "none.ply")


def test_splats_without_thickness_stay_and_rows_without_numbers_go(tmp_path):
    """Some tools write a disc as the log of 0; trained scenes hold a few rows of NaN."""
    splats = some_splats(6, 3)
    splats.scale[:3, 2] = -np.inf
    splats.opacity[0], splats.position[3], splats.rotation[4] = np.inf, np.nan, 0
    write_ply(tmp_path / "a.ply", splats)
    read, left_out = read_splats(tmp_path / "a.ply")
    assert left_out == 2
    np.testing.assert_array_equal(read.position, splats.position[[0, 1, 2, 5]])
    found, flat = covariances(read.moved(np.diag([1.0, 2.0, 3.0, 1.0]))), read.scale[:3]
    assert np.isfinite(found).all() and (np.exp(flat[:, 2]) < 1e-30).all()
    np.testing.assert_array_equal(flat[:, :2], splats.scale[:3, :2])


@pytest.mark.parametrize("count", [0, 3, 8, 15])
def test_the_packed_layout_rounds_as_little_as_it_says(tmp_path, count):
    splats = some_splats(1000, count)
    WRITERS["PACKED"](tmp_path / "a.ply", splats)
    read, _ = read_splats(tmp_path / "a.ply")
    nearest = np.linalg.norm(read.position[:, None] - splats.position, axis=2).argmin(axis=1)
    assert len(set(nearest)) == 1000  # each is there once
    expected = splats.taken(nearest)
    assert np.abs(read.position - expected.position).max() < 8 / 1023
    assert np.abs(read.scale - expected.scale).max() < 3 / 1023
    assert np.abs(read.f_dc - expected.f_dc).max() < 9 / 255
    assert np.abs(_alpha(read) - _alpha(expected)).max() < 1 / 255
    assert read.f_rest.shape == (1000, 3, count)
    assert not count or np.abs(read.f_rest - expected.f_rest).max() < 8 / 255
    unit = expected.rotation / np.linalg.norm(expected.rotation, axis=1, keepdims=True)
    assert (np.abs((read.rotation * unit).sum(axis=1)) > 0.9999).all()


def test_splats_without_thickness_leave_the_packed_layout_its_steps_for_others(tmp_path):
    splats = some_splats(200, 0)
    splats.scale[::2, 2] = -80.0
    WRITERS["PACKED"](tmp_path / "a.ply", splats)
    read, _ = read_splats(tmp_path / "a.ply")
    nearest = np.linalg.norm(read.position[:, None] - splats.position, axis=2).argmin(axis=1)
    expected = splats.taken(nearest)
    flat = expected.scale[:, 2] < -70
    assert flat.sum() == 100 and (read.scale[flat, 2] < -19).all()
    np.testing.assert_allclose(read.scale[~flat], expected.scale[~flat], atol=0.02)


def test_a_packed_splat_is_as_superspat_lays_it_out(tmp_path):
    """Bits set by hand: the second of four splats lies in the middle of the chunk's box."""
    names = [f"{end}_{axis}" for end in ("min", "max") for axis in "xyz"]
    names += [f"{end}_scale_{axis}" for end in ("min", "max") for axis in "xyz"]
    header = ["ply", "format binary_little_endian 1.0", "comment Generated by SuperSplat", "element chunk 1"]
    header += [f"property float {name}" for name in names] + ["element vertex 1"]
    header += [f"property uint packed_{name}" for name in ("position", "rotation", "scale", "color")]
    data = struct.pack("<12f", -1, -2, -3, 1, 2, 5, -8, -8, -8, -2, -2, -2)
    data += struct.pack("<I", 2047 << 21 | 0 << 11 | 2047)
    # The x of the quaternion is the largest; w, y and z follow: 0, 0 and a half of the square root.
    data += struct.pack("<I", 1 << 30 | 512 << 20 | 512 << 10 | 1023)
    data += struct.pack("<I", 0 << 21 | 1023 << 11 | 0)
    data += struct.pack("<I", 255 << 24 | 0 << 16 | 51 << 8 | 204)
    (tmp_path / "a.ply").write_bytes("\n".join([*header, "end_header", ""]).encode() + data)
    splats, _ = read_splats(tmp_path / "a.ply")
    np.testing.assert_allclose(splats.position, [[1, -2, 5]])
    np.testing.assert_allclose(splats.scale, [[-8, -2, -8]])
    np.testing.assert_allclose(0.5 + harmonics.DC * splats.f_dc, [[1, 0, 0.2]], atol=1e-6)
    np.testing.assert_allclose(_alpha(splats), [[0.8]], atol=1e-6)
    np.testing.assert_allclose(splats.rotation, [[0, 0.7071, 0, 0.7071]], atol=2e-3)


def test_other_orders_types_and_text_are_read(tmp_path):
    splats = some_splats(20, 0)
    names = property_names(0)
    write_ply(tmp_path / "a.ply", splats)
    rows = np.frombuffer((tmp_path / "a.ply").read_bytes().split(b"end_header\n")[1], "<f4").reshape(20, -1)
    order = np.random.default_rng(1).permutation(len(names))
    kinds = {"binary_big_endian": ("double", ">f8"), "binary_little_endian": ("float32", "<f4")}
    for form, (kind, dtype) in kinds.items():
        header = ["ply", f"format {form} 1.0", "obj_info x", "element vertex 20"]
        header += [f"property {kind} {names[place]}" for place in order] + ["end_header", ""]
        (tmp_path / "b.ply").write_bytes("\n".join(header).encode() + rows[:, order].astype(dtype).tobytes())
        np.testing.assert_array_equal(read_splats(tmp_path / "b.ply")[0].scale, splats.scale)
    # Other tools add elements that have nothing to do with splats.
    mesh = (tmp_path / "a.ply").read_bytes()
    faces = b"element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    (tmp_path / "b.ply").write_bytes(mesh.replace(b"end_header\n", faces) + struct.pack("<B3i", 3, 0, 1, 2))
    np.testing.assert_array_equal(read_splats(tmp_path / "b.ply")[0].scale, splats.scale)
    header = ["ply", "format ascii 1.0", "element vertex 20", *(f"property float {name}" for name in names)]
    lines = [" ".join(f"{value:.9g}" for value in row) for row in rows]
    (tmp_path / "c.ply").write_text("\n".join([*header, "end_header", *lines, ""]))
    np.testing.assert_array_equal(read_splats(tmp_path / "c.ply")[0].scale, splats.scale)
    (tmp_path / "d.ply").write_text("\r\n".join([*header, "end_header", "", *lines, "", ""]), newline="")
    np.testing.assert_array_equal(read_splats(tmp_path / "d.ply")[0].scale, splats.scale)


def test_comments_may_be_long_and_name_the_headers_end(tmp_path):
    splats = some_splats(20, 3)
    write_ply(tmp_path / "a.ply", splats)
    comments = [b"comment \xff is not end_header yet", *[b"comment " + b"x" * 999] * 100]
    data = (tmp_path / "a.ply").read_bytes().replace(b"element", b"\n".join([*comments, b"element"]), 1)
    (tmp_path / "a.ply").write_bytes(data)
    np.testing.assert_array_equal(read_splats(tmp_path / "a.ply")[0].f_rest, splats.f_rest)


@pytest.mark.filterwarnings("error")
def test_doubles_that_no_float_holds_leave_their_splat_out(tmp_path):
    row = np.tile(np.arange(1.0, 18.0), (3, 1))
    row[1, 0] = 1e300
    header = _with_header(3, *(f"property double {name}" for name in property_names(0)))
    (tmp_path / "a.ply").write_bytes(header + row.astype("<f8").tobytes())
    read, left_out = read_splats(tmp_path / "a.ply")
    assert len(read) == 2 and left_out == 1


def test_a_splat_file_of_32_bytes_a_row(tmp_path):
    row = struct.pack("<6f", 1, 2, 3, 0.5, 0.25, 0.125) + bytes([255, 0, 51, 204]) + bytes([128, 255, 128, 1])
    (tmp_path / "a.splat").write_bytes(row)
    splats, _ = read_splats(tmp_path / "a.splat")
    np.testing.assert_allclose(splats.position, [[1, 2, 3]])
    np.testing.assert_allclose(np.exp(splats.scale), [[0.5, 0.25, 0.125]])
    np.testing.assert_allclose(0.5 + harmonics.DC * splats.f_dc, [[1, 0, 0.2]], atol=1e-6)
    np.testing.assert_allclose(_alpha(splats), [[0.8]], atol=1e-6)
    np.testing.assert_allclose(splats.rotation, np.array([[0, 127, 0, -127]]) / 128)


@pytest.mark.parametrize("version", [2, 3])
def test_a_spz_file(tmp_path, version):
    """Of one splat, turned by 45 degrees about the axis that points up in the file."""
    data = struct.pack("<4sIIBBBB", b"NGSP", version, 1, 1, 12, 0, 0)
    data += b"".join(value.to_bytes(3, "little", signed=True) for value in (4096, -8192, 6144))
    data += bytes([204, 255, 128, 0, 160, 144, 128])
    if version == 2:
        data += bytes([128, 176, 128])
    else:  # w is the largest; x and z are 0
        data += struct.pack("<I", 3 << 30 | 0 << 20 | 277 << 10 | 0)
    data += bytes(range(124, 133))
    (tmp_path / "a.spz").write_bytes(gzip.compress(data))
    splats, _ = read_splats(tmp_path / "a.spz")
    np.testing.assert_allclose(splats.position, [[1, 2, -1.5]], atol=1e-6)  # y and z turned round
    np.testing.assert_allclose(splats.scale, [[0, -1, -2]], atol=1e-6)
    np.testing.assert_allclose(splats.f_dc[0, [0, 2]], [0.5 / 0.15, -0.5 / 0.15], atol=1e-5)
    np.testing.assert_allclose(_alpha(splats), [[0.8]], atol=1e-6)
    turn = quaternions.matrices(np.array([[np.cos(np.pi / 8), 0, -np.sin(np.pi / 8), 0]]))
    axes = turn * np.exp([0, -1, -2])
    np.testing.assert_allclose(covariances(splats), axes @ axes.transpose(0, 2, 1), atol=0.01)
    # Of degree 1 the functions are those of y, z and x: the first two change their sign.
    stored = (np.arange(124, 133).reshape(3, 3).T - 128) / 128
    np.testing.assert_allclose(splats.f_rest[0], stored * [-1, -1, 1], atol=1e-6)


def _with_header(count: int, *properties: str, form: str = "binary_little_endian") -> bytes:
    lines = ["ply", f"format {form} 1.0", f"element vertex {count}", *properties, "end_header", ""]
    return "\n".join(lines).encode()


FLOATS = tuple(f"property float {name}" for name in property_names(0))
BROKEN = {
    "empty.ply": (b"", "not a PLY"),
    "picture.ply": (b"\x89PNG\r\n" * 9, "not a PLY"),
    "cut.ply": (_with_header(5, *FLOATS) + b"\0" * 100, "ends too early"),
    "huge.ply": (_with_header(10**30, *FLOATS) + b"\0" * 680, "ends too early"),
    "points.ply": (_with_header(0, *FLOATS[:6]), "no Gaussian splats"),
    "none.ply": (_with_header(0, *FLOATS), "no splats"),
    "list.ply": (_with_header(1, "property list uchar int a"), "no Gaussian splats"),
    "twice.ply": (_with_header(1, "property float x", "property float x"), "header"),
    "bare.ply": (_with_header(1), "header"),
    "type.ply": (_with_header(1, "property half a"), "header"),
    "minus.ply": (_with_header(-1, *FLOATS), "header"),
    "format.ply": (_with_header(1, *FLOATS, form="middle_endian"), "header"),
    "text.ply": (_with_header(1, *FLOATS, form="ascii") + b"1 2 x\n", "no row of numbers"),
    "rest.ply": (_with_header(0, *FLOATS, "property float f_rest_0"), "f_rest"),
    "nan.ply": (_with_header(1, *FLOATS) + np.full(17, np.nan, "<f4").tobytes(), "no splats"),
    "odd.splat": (b"\0" * 33, "multiple of 32"),
    "odd.spz": (b"no gzip", "damaged"),
    "other.spz": (gzip.compress(b"NGSP" + b"\1\0\0\0" * 3), "version 2 or 3"),
    "endless.spz": (
        gzip.compress(struct.pack("<4sIIBBBB", b"NGSP", 3, 1 << 31, 0, 12, 0, 0)),
        "at most 10,000,000",
    ),
    "flipped.spz": (
        gzip.compress(struct.pack("<4sIIBBBB", b"NGSP", 3, 0, 0, 12, 0, 0))[:-8] + bytes(8),
        "damaged",
    ),
    "cut.spz": (gzip.compress(struct.pack("<4sIIBBBB", b"NGSP", 3, 9, 0, 12, 0, 0)), "ends too early"),
    "a.obj": (b"", "no file of splats"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_a_sentence(tmp_path, name):
    data, words = BROKEN[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(Fault, match=words) as told:
        read_splats(tmp_path / name)
    assert name in str(told.value)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(Fault, match="cannot be read"):
        read_splats(tmp_path / "a.ply")
