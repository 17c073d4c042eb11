"""The .glb file: the rules of the format, checked on the bytes, and what another reader makes of it."""

import json
import os
import struct

import numpy as np
import pytest
import torch
import trimesh

from backend.errors import UserError
from backend.representations.glb import glb_bytes, linear_from_srgb, write_glb
from backend.representations.mesh import Mesh, vertex_normals

SIZES = {5126: 4, 5125: 4}
WIDTHS = {"SCALAR": 1, "VEC3": 3}


def pyramid(colors: bool = True) -> Mesh:
    """A tetrahedron that points up (z), with one vertex that no face uses."""
    corners = [[0.5, 0.0, -0.25], [-0.25, 0.4, -0.25], [-0.25, -0.4, -0.25], [0.0, 0.0, 0.5], [0.1, 0.2, 0.3]]
    faces = torch.tensor([[0, 1, 3], [1, 2, 3], [2, 0, 3], [0, 2, 1]])
    shades = torch.tensor(
        [[0.0, 0.5, 1.0], [1.0, 0.0, 0.0], [0.2, 0.2, 0.2], [0.04, 0.8, 1.2], [0.0, 0.0, -0.1]]
    )
    return Mesh(torch.tensor(corners), faces, shades if colors else None)


def chunks(data: bytes) -> tuple[dict, bytes]:
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON" and size % 4 == 0
    document = json.loads(data[20 : 20 + size])
    rest = data[20 + size :]
    size, kind = struct.unpack_from("<I4s", rest)
    assert kind == b"BIN\0" and size % 4 == 0 and len(rest) == 8 + size
    return document, rest[8:]


def arrays(document: dict, binary: bytes) -> list[np.ndarray]:
    found = []
    for accessor in document["accessors"]:
        view = document["bufferViews"][accessor["bufferView"]]
        kind = "<f4" if accessor["componentType"] == 5126 else "<u4"
        data = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        found.append(np.frombuffer(data, kind).reshape(accessor["count"], -1))
    return found


@pytest.mark.parametrize("colors", [True, False])
def test_the_rules_of_the_format(colors):
    document, binary = chunks(glb_bytes(pyramid(colors)))
    assert document["asset"]["version"] == "2.0"
    assert document["buffers"][0]["byteLength"] <= len(binary) < document["buffers"][0]["byteLength"] + 4
    end = 0
    for accessor, view in zip(document["accessors"], document["bufferViews"], strict=True):
        size = accessor["count"] * WIDTHS[accessor["type"]] * SIZES[accessor["componentType"]]
        assert view["byteOffset"] == end and view["byteOffset"] % 4 == 0 and view["byteLength"] == size
        end += size
    primitive = document["meshes"][0]["primitives"][0]
    names = primitive["attributes"]
    assert set(names) == {"POSITION", "NORMAL"} | ({"COLOR_0"} if colors else set())
    found = arrays(document, binary)
    position = document["accessors"][names["POSITION"]]
    np.testing.assert_array_equal(np.float32(position["min"]), found[names["POSITION"]].min(0))
    np.testing.assert_array_equal(np.float32(position["max"]), found[names["POSITION"]].max(0))
    np.testing.assert_allclose(np.linalg.norm(found[names["NORMAL"]], axis=1), 1, atol=1e-6)
    assert found[primitive["indices"]].max() < 5
    views = document["bufferViews"]
    assert [view["target"] for view in views] == [34962] * len(names) + [34963]
    material = document["materials"][primitive["material"]]
    assert material["pbrMetallicRoughness"] == {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    if colors:
        assert 0 <= found[names["COLOR_0"]].min() and found[names["COLOR_0"]].max() <= 1


def test_another_reader_sees_the_mesh_with_y_up(tmp_path):
    mesh = pyramid()
    write_glb(tmp_path / "a.glb", mesh)
    (read,) = trimesh.load(tmp_path / "a.glb", process=False).geometry.values()
    x, y, z = mesh.vertices.numpy().T
    np.testing.assert_allclose(read.vertices, np.stack([x, z, -y], 1), atol=1e-7)
    np.testing.assert_array_equal(read.faces, mesh.faces.numpy())
    assert read.volume > 0
    shown = read.visual.vertex_attributes["color"]
    np.testing.assert_allclose(shown, linear_from_srgb(mesh.colors.clamp(0, 1)).numpy(), atol=1e-6)
    assert os.listdir(tmp_path) == ["a.glb"]


def test_linear_light():
    srgb = torch.tensor([0.0, 0.04045, 0.5, 1.0])
    torch.testing.assert_close(linear_from_srgb(srgb), torch.tensor([0.0, 0.0031308, 0.2140411, 1.0]))


def test_normals_point_outwards_and_are_never_without_length():
    mesh = pyramid()
    normals = vertex_normals(mesh)
    assert ((normals * mesh.vertices).sum(1)[:4] > 0).all()
    assert normals[4].tolist() == [0, 0, 1]
    tiny = Mesh(mesh.vertices * 1e-12, mesh.faces)
    torch.testing.assert_close(vertex_normals(tiny), normals)


def test_an_empty_mesh_is_refused(tmp_path):
    empty = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    with pytest.raises(UserError, match="no faces"):
        write_glb(tmp_path / "a.glb", empty)
    assert os.listdir(tmp_path) == []


def test_normals_of_a_finished_mesh_break_at_sharp_edges_only():
    """A box has three normals at each corner; a fine ball is smooth and keeps its vertices."""
    box = trimesh.creation.box((1, 0.5, 0.25))
    vertices, faces = (torch.tensor(np.asarray(part)) for part in (box.vertices, box.faces))
    mesh = Mesh(vertices.float(), faces.long(), torch.rand(8, 3, generator=torch.manual_seed(0)))
    document, binary = chunks(glb_bytes(mesh, sharp=True))
    position, normal, color, corner = arrays(document, binary)
    assert len(position) == len(normal) == len(color) == 24
    a, b, c = position[corner.reshape(-1, 3)].transpose(1, 0, 2)
    flat = np.cross(b - a, c - a)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    np.testing.assert_allclose(normal[corner.reshape(-1, 3)], np.repeat(flat[:, None], 3, axis=1), atol=1e-6)
    ball = trimesh.creation.icosphere(subdivisions=3)
    vertices, faces = (torch.tensor(np.asarray(part)) for part in (ball.vertices, ball.faces))
    position, normal, _ = arrays(*chunks(glb_bytes(Mesh(vertices.float(), faces.long()), sharp=True)))
    assert len(position) == len(ball.vertices) and (position * normal).sum(1).min() > 0.99
