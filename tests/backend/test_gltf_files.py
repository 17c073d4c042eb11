"""glTF files as other tools write them: textures, extensions, nodes and rarer ways to store a mesh."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from gltf_file import write_gltf_file
from PIL import Image

from backend.errors import UserError
from backend.geometry.mesh_files import Asset, load_asset, read_parts

TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4")
QUARTERS = np.uint8([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]])
RED, GREEN, BLUE, YELLOW = QUARTERS.reshape(4, 3).tolist()


def png(texels: np.ndarray = QUARTERS, form: str = "PNG", **options) -> bytes:
    stored = io.BytesIO()
    Image.fromarray(texels).save(stored, form, **options)
    return stored.getvalue()


def write_separate(path: Path, uri: str, image: str, **more) -> None:
    """A .gltf file beside its .bin file and an image."""
    write_gltf_file(path, **textured(uri=image) | more)
    data = path.read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    document = json.loads(data[20 : 20 + length])
    document["buffers"][0]["uri"] = uri
    path.write_text(json.dumps(document))
    path.with_suffix(".bin").write_bytes(data[28 + length :])


def textured(uv=((0.1, 0.1), (0.9, 0.1), (0.1, 0.9)), uri: str = "t.png", base: dict | None = None, **more):
    primitive = {"POSITION": TRIANGLE, "TEXCOORD_0": np.array(uv, "<f4"), "material": 0}
    texture = {"index": 0} | (base or {})
    arguments = {
        "primitives": [primitive],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": texture}}],
        "nodes": [{"mesh": 0}],
        "textures": [{"source": 0}],
        "images": [{"uri": uri}],
    }
    return arguments | more


def read(path: Path, **arguments) -> Asset:
    write_gltf_file(path, **arguments)
    return load_asset(path)


@pytest.mark.parametrize("name", ["my chair", "grün", "100%25"])
def test_names_of_files_may_be_encoded(tmp_path, name):
    """As Blender writes them; a name that has the sign itself is found as well."""
    from urllib.parse import quote

    (tmp_path / f"{name}.png").write_bytes(png())
    encoded = name if "%" in name else quote(name)
    write_separate(tmp_path / f"{name}.gltf", f"{encoded}.bin", f"{encoded}.png")
    assert load_asset(tmp_path / f"{name}.gltf").corner_colors[0].tolist() == [RED, GREEN, BLUE]


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("KHR_texture_basisu", "KTX2 images.*export them as PNG"),
        ("EXT_meshopt_compression", "meshopt; export it uncompressed"),
        ("KHR_meshopt_compression", "meshopt; export it uncompressed"),
        ("NOBODY_knows", "needs NOBODY_knows of glTF.*export it without"),
    ],
)
def test_what_a_file_needs_and_is_not_read_is_one_sentence(tmp_path, name, sentence):
    with pytest.raises(UserError, match=sentence):
        read(tmp_path / "a.glb", **textured(extensionsRequired=["KHR_materials_unlit", name]))


@pytest.mark.parametrize("form", ["WEBP", "AVIF"])
def test_images_of_newer_formats_are_read(tmp_path, form):
    (tmp_path / "t").write_bytes(png(np.full((16, 16, 3), (255, 0, 0), np.uint8), form))
    name = f"EXT_texture_{form.lower()}"
    arguments = textured(uri="t", textures=[{"extensions": {name: {"source": 0}}}], extensionsRequired=[name])
    assert np.abs(read(tmp_path / "a.glb", **arguments).corner_colors.astype(int) - RED).max() < 8


def test_what_stands_for_a_compressed_buffer_is_not_read(tmp_path):
    """Though the file says that it can be read without meshopt."""
    buffers = [{"byteLength": 60, "extensions": {"EXT_meshopt_compression": {"fallback": True}}}]
    with pytest.raises(UserError, match="meshopt; export it uncompressed"):
        read(tmp_path / "a.glb", **textured(buffers=buffers, extensionsUsed=["EXT_meshopt_compression"]))


@pytest.mark.parametrize("other", [True, False])
def test_a_ktx2_image_is_named_where_there_is_no_other(tmp_path, caplog, other):
    (tmp_path / "t.ktx2").write_bytes(b"\xabKTX 20\xbb\r\n\x1a\n" + bytes(100))
    (tmp_path / "t.png").write_bytes(png())
    texture = {"extensions": {"KHR_texture_basisu": {"source": 1}}} | ({"source": 0} if other else {})
    images = [{"uri": "t.png"}, {"uri": "t.ktx2"}]
    found = read(tmp_path / "a.glb", **textured(textures=[texture], images=images)).corner_colors[0].tolist()
    assert found == ([RED, GREEN, BLUE] if other else [[255] * 3] * 3)
    assert ("t.ktx2 of" in caplog.text) != other
    assert other or "KTX2 image, which is not read: export it as PNG" in caplog.text


@pytest.mark.parametrize("content", [None, b"no image", png(form="AVIF").replace(b"iloc", b"none")])
def test_a_texture_that_cannot_be_opened_is_named(tmp_path, caplog, content):
    if content is not None:
        (tmp_path / "my wood.png").write_bytes(content)
    asset = read(tmp_path / "a.glb", **textured(uri="my%20wood.png"))
    assert (asset.corner_colors == 255).all()
    assert caplog.text.count("my wood.png of") == 1


def test_textures_of_any_size_are_read_in_their_own_depth(tmp_path):
    """Beyond the size at which Pillow takes an image for an attack; and 16 bits a texel."""
    large = Image.new("1", (14000, 14000))  # whose file is small
    large.putpixel((13999, 0), 1)
    large.save(tmp_path / "t.png")
    uv = [(0, 0), (1, 0), (0, 1)]
    assert read(tmp_path / "a.glb", **textured(uv)).corner_colors[0].tolist() == [[0] * 3, [255] * 3, [0] * 3]
    (tmp_path / "t.png").write_bytes(png(np.full((2, 2), 30000, np.uint16)))
    assert (read(tmp_path / "a.glb", **textured(uv)).corner_colors == 30000 // 256).all()


@pytest.mark.parametrize(
    "wrap, beyond",
    [(10497, (RED, GREEN, RED, GREEN)), (33071, (GREEN, GREEN, RED, RED)), (33648, (GREEN, RED, GREEN, RED))],
)
def test_how_an_image_goes_on_beyond_its_border(tmp_path, wrap, beyond):
    (tmp_path / "t.png").write_bytes(png())
    sampler = {"samplers": [{"wrapS": wrap, "wrapT": 33071}], "textures": [{"source": 0, "sampler": 0}]}
    for u, color in zip((1.1, 1.9, -0.9, -0.1), beyond, strict=True):
        asset = read(tmp_path / "a.glb", **textured([(u, -0.3)] * 3, **sampler))
        assert asset.corner_colors[0].tolist() == [color] * 3


def test_a_transformation_may_name_other_coordinates(tmp_path):
    (tmp_path / "t.png").write_bytes(png())
    base = {"texCoord": 0, "extensions": {"KHR_texture_transform": {"texCoord": 1}}}
    arguments = textured(base=base)
    arguments["primitives"][0]["TEXCOORD_1"] = np.full((3, 2), 0.9, "<f4")
    assert read(tmp_path / "a.glb", **arguments).corner_colors[0].tolist() == [YELLOW] * 3
    np.testing.assert_allclose(read_parts(tmp_path / "a.glb")[0].uv, [[0.9, 0.1]] * 3, atol=1e-6)


def corners(asset: Asset) -> list:
    """In the file's axes."""
    x, y, z = np.moveaxis(asset.vertices[asset.faces], 2, 0)
    return np.stack([x, z, -y], axis=2).round(4).tolist()


@pytest.mark.parametrize(
    "mode, wanted",
    [
        (4, [(0, 1, 2)]),
        (5, [(0, 1, 2), (2, 1, 3), (3, 4, 5)]),
        (6, [(0, 1, 2), (0, 2, 3), (0, 3, 4), (0, 4, 5)]),
    ],
)
def test_triangles_strips_and_fans(tmp_path, mode, wanted):
    """The strip turns at a vertex that comes twice."""
    place = np.stack([np.arange(6), np.arange(6) ** 2, np.zeros(6)], axis=1).astype("<f4")
    order = {4: [0, 1, 2], 5: [0, 1, 2, 3, 3, 4, 5], 6: [0, 1, 2, 3, 4, 5]}[mode]
    primitive = {"POSITION": place, "indices": np.array(order, "<u2"), "mode": mode}
    found = corners(read(tmp_path / "a.glb", primitives=[primitive], materials=[], nodes=[{"mesh": 0}]))
    sets = [{tuple(place[k].tolist()) for k in face} for face in wanted]
    assert [{tuple(corner) for corner in face} for face in found if len(set(map(tuple, face))) == 3] == sets


def changed(path: Path, change) -> Asset:
    """The mesh after its document has been changed."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    document = json.loads(data[20 : 20 + length])
    change(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    head = struct.pack("<4sII", b"glTF", 2, 20 + len(text) + len(rest)) + struct.pack(
        "<I4s", len(text), b"JSON"
    )
    path.write_bytes(head + text + rest)
    return load_asset(path)


def test_a_file_without_scenes_shows_all_its_nodes(tmp_path):
    nodes = [{"mesh": 0}, {"children": [0], "translation": [5, 0, 0]}]
    write_gltf_file(tmp_path / "a.glb", [{"POSITION": TRIANGLE}], [], nodes)

    def change(document):
        del document["scenes"], document["scene"]

    assert corners(changed(tmp_path / "a.glb", change)) == [[[5, 0, 0], [6, 0, 0], [5, 1, 0]]]


def test_single_values_replace_those_of_an_accessor(tmp_path):
    primitive = {"POSITION": TRIANGLE, "_AT": np.array([1], "<u2"), "_NEW": np.array([[9, 8, 7]], "<f4")}
    write_gltf_file(tmp_path / "a.glb", [primitive], [], [{"mesh": 0}])

    def change(document):
        place, at, new = document["accessors"]
        indices = {"bufferView": at["bufferView"], "componentType": at["componentType"]}
        place["sparse"] = {"count": 1, "indices": indices, "values": {"bufferView": new["bufferView"]}}

    assert corners(changed(tmp_path / "a.glb", change)) == [[[0, 0, 0], [9, 8, 7], [0, 1, 0]]]


def test_a_skinned_mesh_stands_where_its_joints_hold_it(tmp_path):
    primitive = {
        "POSITION": TRIANGLE,
        "JOINTS_0": np.array([[0, 1, 0, 0]] * 3, "<u2"),
        "WEIGHTS_0": np.array([[0.75, 0.25, 0, 0]] * 3, "<f4"),
    }
    nodes = [{"mesh": 0, "skin": 0, "translation": [100, 0, 0]}, {}, {"translation": [4, 0, 8]}]
    asset = read(
        tmp_path / "a.glb",
        primitives=[primitive],
        materials=[],
        nodes=nodes,
        whole={"JOINTS_0"},
        skins=[{"joints": [1, 2]}],
    )
    assert corners(asset) == [[[1, 0, 2], [2, 0, 2], [1, 1, 2]]]


def test_shape_keys_and_instances_are_placed(tmp_path):
    primitive = {"POSITION": TRIANGLE, "_LATER": TRIANGLE * 0 + np.float32([0, 0, 2])}
    write_gltf_file(tmp_path / "a.glb", [primitive], [], [{"mesh": 0}])

    def change(document):
        document["meshes"][0]["primitives"][0]["targets"] = [{"POSITION": 1}]
        document["meshes"][0]["weights"] = [0.5]
        places = {"attributes": {"TRANSLATION": 0}}
        document["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": places}
        document["extensionsRequired"] = ["EXT_mesh_gpu_instancing"]

    found = corners(changed(tmp_path / "a.glb", change))
    triangle = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1]])
    assert found == [(triangle + step).tolist() for step in TRIANGLE]


def test_shape_keys_in_whole_numbers_are_fractions_too(tmp_path):
    raised = np.zeros((3, 3), np.int16)
    raised[2, 2] = 32767
    write_gltf_file(tmp_path / "a.glb", [{"POSITION": TRIANGLE, "_LATER": raised}], [], [{"mesh": 0}])

    def change(document):
        document["meshes"][0]["primitives"][0]["targets"] = [{"POSITION": 1}]
        document["meshes"][0]["weights"] = [0.5]
        document["accessors"][1]["normalized"] = True

    found = np.array(corners(changed(tmp_path / "a.glb", change)))
    np.testing.assert_allclose(found[0], TRIANGLE + np.float32([[0, 0, 0], [0, 0, 0], [0, 0, 0.5]]))
