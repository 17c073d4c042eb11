"""Edits and variants as the add-on asks for them: results of one request are the arrays of the next."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.errors import UserError
from backend.trellis.engine import TrellisEngine
from blender_trellis.protocol import ARRAYS, BESIDES, Array, Complete, Edit, Encode, Finishing, Generate, Vary

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
BOX = (0.25, 0, 0, 0.25, 0, 0.5, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 1)
"""The half x > 0 of the asset."""


def packed(values: np.ndarray) -> Array:
    kind = {"float32": "f4", "int32": "i4", "uint8": "u1"}[values.dtype.name]
    return Array(kind, values.shape, values.tobytes())


class Asset:
    """What one generation told, and the requests that start from it."""

    def __init__(self, model: Path, picture: bytes):
        self.engine = TrellisEngine()
        self.where = ("job", str(model), "cpu", "fp32")
        self.picture = Array("u1", (len(picture),), picture)
        self.made, self.finished = self.run(
            Generate(*self.where, pictures=(self.picture,), seed=7, formats=("mesh", "gaussian"))
        )
        voxels, latent = self.made["voxels"], self.made["structured_latent"]
        self.arrays = {
            "structure_latent": packed(self.made["structure_latent"][1]["latent"]),
            "occupied": packed(voxels[1]["occupied"]),
            **{name: packed(array) for name, array in latent[1].items()},
            "picture_0": self.picture,
        }
        self.known = {
            "resolution": voxels[0]["resolution"],
            "structure_resolution": voxels[0]["structure_resolution"],
            "model_hash": self.finished.model_hash,
        }

    def run(self, request) -> tuple[dict, object]:
        parts = {}
        finished = self.engine.run(
            request, lambda *step: None, lambda kind, info, arrays: parts.update({kind: (info, arrays)})
        )
        for kind, (_, arrays) in parts.items():
            besides = {name for group in BESIDES.get(kind, ()) for name in group}
            assert arrays.keys() - besides == ARRAYS[kind].keys()
        return parts, finished

    def edit(self, **changes) -> dict:
        chosen = {"arrays": self.arrays, "boxes": (BOX,), "seed": 11, **self.known} | changes
        return self.run(Edit(*self.where, **chosen))[0]

    def vary(self, **changes) -> dict:
        return self.run(Vary(*self.where, **({"arrays": self.arrays, **self.known} | changes)))[0]


def test_another_look_of_the_bundled_model_is_another_one_on_the_same_shape():
    asset = Asset(Path("starter"), (PICTURES / "mushroom.png").read_bytes())
    before = asset.made["gaussian"][1]
    one, other = (asset.vary(seed=seed, formats=("gaussian",))["gaussian"][1] for seed in (5, 6))
    for made in (one, other):
        assert np.array_equal(made["position"], before["position"])
        assert np.abs(made["f_dc"].mean(0) - before["f_dc"].mean(0)).max() < 0.15
    assert np.abs(one["f_dc"] - other["f_dc"]).mean() > 0.05


@pytest.fixture(scope="module")
def asset(tmp_path_factory) -> Asset:
    from PIL import Image
    from tiny_model import write_tiny_model

    folder = tmp_path_factory.mktemp("requests")
    picture = np.zeros((96, 96, 4), np.uint8)
    picture[20:80, 20:80] = [200, 120, 40, 255]
    Image.fromarray(picture).save(folder / "square.png")
    return Asset(write_tiny_model(folder / "tiny"), (folder / "square.png").read_bytes())


def test_kept_vertices_and_splats_are_found_by_their_keys(asset):
    edited = asset.edit()
    for kind, names in (("mesh", ("vertices", "colors")), ("gaussian", ("position", "f_dc", "opacity"))):
        before, after = asset.made[kind][1], edited[kind][1]
        row = {key: n for n, key in enumerate(before["keys"].tolist())}
        assert len(row) == len(before["keys"]) and len(set(after["keys"].tolist())) == len(after["keys"])
        kept = after["kept"].astype(bool)
        assert 0.1 < kept.mean() < 0.9
        rows = [row[key] for key in after["keys"][kept].tolist()]
        for name in names:
            assert np.array_equal(after[name][kept], before[name][rows])
    far = edited["mesh"][1]["vertices"][:, 0] < -0.25
    assert edited["mesh"][1]["kept"][far].all()


def test_an_edit_starts_where_the_last_one_ended(asset):
    once = asset.edit()
    arrays = asset.arrays | {
        "structure_latent": packed(once["structure_latent"][1]["latent"]),
        "occupied": packed(once["voxels"][1]["occupied"]),
        "coords": packed(once["voxels"][1]["coords"]),
        "feats": packed(once["structured_latent"][1]["feats"]),
    }
    elsewhere = np.diag([0.25, 0.25, 0.25, 1.0])
    elsewhere[:3, 3] = -0.25
    twice = asset.edit(arrays=arrays, boxes=(tuple(elsewhere.ravel()),), mode="remove")
    row = {key: n for n, key in enumerate(once["gaussian"][1]["keys"].tolist())}
    kept = twice["gaussian"][1]["kept"].astype(bool)  # all but the lid of the cut
    rows = [row[key] for key in twice["gaussian"][1]["keys"][kept].tolist()]
    assert 0 < len(rows) < len(row)
    assert np.array_equal(twice["gaussian"][1]["position"][kept], once["gaussian"][1]["position"][rows])


def test_a_closed_mesh_is_the_box(asset):
    corners = np.stack(np.meshgrid([0, 0.5], [-0.5, 0.5], [-0.5, 0.5], indexing="ij"), -1).reshape(-1, 3)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))]
    region = {
        "region_0_vertices": packed(corners.astype(np.float32)),
        "region_0_faces": packed(np.array(faces, np.int32)),
    }
    by_mesh = asset.edit(boxes=(), arrays=asset.arrays | region)
    by_box = asset.edit()
    for name in ("vertices", "faces", "colors", "kept"):
        assert np.array_equal(by_mesh["mesh"][1][name], by_box["mesh"][1][name])


def test_a_variant_keeps_the_voxels_unless_its_shape_is_varied_too(asset):
    before = asset.made["voxels"][1]["coords"]
    look, shape = (asset.vary(seed=3, shape=shape) for shape in (False, True))
    assert np.array_equal(look["voxels"][1]["coords"], before)
    assert not np.array_equal(
        look["structured_latent"][1]["feats"], asset.made["structured_latent"][1]["feats"]
    )
    assert not np.array_equal(shape["voxels"][1]["coords"], before)
    assert "kept" not in look["mesh"][1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_hash": "of another"}, "made by another model"),
        ({"boxes": ()}, "neither a box nor a mesh"),
        ({"boxes": ((1.0,) * 15,)}, "16 numbers"),
        ({"boxes": ((0.0,) * 15 + (1.0,),)}, "scaled to nothing"),
        ({"boxes": (BOX[:3] + (40.0,) + BOX[4:],)}, "region"),
        ({"resolution": 8}, "damaged"),
        ({"structure_resolution": 24}, "damaged"),
        ({"margin": 99}, "margin"),
    ],
)
def test_what_cannot_be_edited_is_said(asset, changes, words):
    with pytest.raises(UserError, match=words):
        asset.edit(**changes)


@pytest.mark.parametrize("name", ["structure_latent", "occupied", "coords", "feats"])
def test_damaged_latents_are_said(asset, name):
    array = asset.arrays[name]
    less = {k: v for k, v in asset.arrays.items() if k != name}
    with pytest.raises(UserError, match=f"lacks the asset's {name}"):
        asset.edit(arrays=less)
    shorter = Array(array.dtype, (array.shape[0] - 1, *array.shape[1:]), array.data[: -array_bytes(array)])
    with pytest.raises(UserError, match="damaged"):
        asset.edit(arrays=less | {name: shorter})
    spoilt = Array(array.dtype, array.shape, b"\xff" * len(array.data))
    if name != "occupied":  # all of whose bits mean something
        with pytest.raises(UserError, match="damaged"):
            asset.edit(arrays=less | {name: spoilt})


def test_what_lies_within_a_solid_comes_and_goes_with_its_latents(asset):
    side = asset.known["resolution"]
    within = np.zeros((side,) * 3, bool)
    within[0, 0, 0] = True
    sent = packed(np.packbits(within))
    told = asset.edit(mode="look", arrays=asset.arrays | {"within": sent})
    assert told["structured_latent"][1]["within"].tobytes() == sent.data
    within[tuple(asset.made["voxels"][1]["coords"][0])] = True
    for damaged in (np.packbits(within), np.packbits(within)[1:]):
        with pytest.raises(UserError, match="damaged"):
            asset.edit(mode="look", arrays=asset.arrays | {"within": packed(damaged)})


def array_bytes(array: Array) -> int:
    """Of one row."""
    return len(array.data) // array.shape[0]


def test_an_edit_needs_a_guide_unless_it_removes(asset):
    without = {name: array for name, array in asset.arrays.items() if name != "picture_0"}
    with pytest.raises(UserError, match="neither a picture nor a prompt"):
        asset.edit(arrays=without)
    removed = asset.edit(arrays=without, mode="remove")
    assert len(removed["voxels"][1]["coords"]) < len(asset.made["voxels"][1]["coords"])


@pytest.fixture(scope="module")
def with_encoders(tmp_path_factory) -> Path:
    from tiny_model import write_tiny_encoders, write_tiny_model

    folder = write_tiny_model(tmp_path_factory.mktemp("encoders") / "tiny")
    write_tiny_encoders(folder)
    return folder


def block(size: float, middle: np.ndarray) -> dict[str, Array]:
    """A cube of that size about the middle."""
    corners = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1], indexing="ij"), -1).reshape(-1, 3)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))]
    return {
        "vertices": packed((corners * size / 2 + middle).astype(np.float32)),
        "faces": packed(np.array(faces, np.int32)),
        "colors": packed(np.full((8, 3), 0.5, np.float32)),
    }


def test_a_mesh_becomes_an_asset_that_knows_where_it_was(asset, with_encoders):
    where = ("job", str(with_encoders), "cpu", "fp32")
    arrays = block(4.0, np.array([10.0, -3.0, 2.0]))
    made, finished = asset.run(Encode(*where, arrays=arrays, formats=("gaussian",)))
    about, voxels = made["voxels"]
    unit = voxels["coords"] / about["resolution"] - 0.5
    offset = np.array([about[f"offset_{axis}"] for axis in "xyz"])
    assert np.allclose((unit.min(0) * about["scale"] + offset), [8, -5, 0], atol=4 / about["resolution"])
    assert np.allclose((about["scale"], *offset), (4, 10, -3, 2))
    latents = {
        "structure_latent": packed(made["structure_latent"][1]["latent"]),
        "occupied": packed(voxels["occupied"]),
        "coords": packed(voxels["coords"]),
        "feats": packed(made["structured_latent"][1]["feats"]),
        "picture_0": asset.picture,
    }
    known = {
        "resolution": about["resolution"],
        "structure_resolution": about["structure_resolution"],
        "model_hash": finished.model_hash,
    }
    of_latents = asset.run(Vary(*where, arrays=latents, formats=("gaussian",), **known))[0]
    of_mesh = asset.run(Vary(*where, arrays=arrays | {"picture_0": asset.picture}, formats=("gaussian",)))[0]
    assert of_mesh["voxels"][0]["scale"] == 4 and "scale" not in of_latents["voxels"][0]
    assert np.array_equal(of_mesh["gaussian"][1]["position"], of_latents["gaussian"][1]["position"])


def own_coordinates() -> np.ndarray:
    """(12, 3, 2) for a block's triangles, each in a cell of its own."""
    corners = np.float32([(0.1, 0.1), (0.9, 0.1), (0.1, 0.9)]) / 4
    cells = np.float32([(number % 4, number // 4) for number in range(12)]) / 4
    return cells[:, None] + corners


def test_a_variant_may_be_only_colours_for_the_mesh_that_was_sent(asset, with_encoders):
    where = ("job", str(with_encoders), "cpu", "fp32")
    arrays = block(4.0, np.array([10.0, -3.0, 2.0])) | {"picture_0": asset.picture}
    made, _ = asset.run(Vary(*where, arrays=arrays, onto="mesh", formats=("gaussian",)))
    assert list(made) == ["vertex_colors"]
    colors = made["vertex_colors"][1]["colors"]
    assert colors.shape == (8, 3) and colors.dtype == np.float32 and 0 <= colors.min() <= colors.max() <= 1
    coordinates = own_coordinates()
    asked = Vary(
        *where,
        arrays=arrays | {"uv": packed(coordinates)},
        onto="mesh",
        finishing=Finishing(texture=128, project_picture=False, material="glossy"),
    )
    again, _ = asset.run(asked)
    assert again["vertex_colors"][0] == {"roughness": 0.25, "metallic": 0.0}
    assert np.array_equal(again["vertex_colors"][1]["colors"], colors)
    image = again["vertex_colors"][1]["texture"]
    assert image.shape == (128, 128, 3) and image.dtype == np.uint8
    with pytest.raises(UserError, match="outside the texture"):
        asset.run(replace(asked, arrays=asked.arrays | {"uv": packed(coordinates + 1)}))
    for changes in ({"shape": True}, {"arrays": asset.arrays, **asset.known}):
        asked = {"arrays": arrays, "onto": "mesh"} | changes
        engine_of = asset.where if "model_hash" in changes else where
        with pytest.raises(UserError, match="onto a mesh that was sent"):
            asset.run(Vary(*engine_of, **asked))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"faces": packed(np.zeros((0, 3), np.int32))}, "no faces"),
        ({"colors": packed(np.zeros((7, 3), np.float32))}, "8 vertices and 7 colours"),
        ({"vertices": packed(np.zeros((8, 2), np.float32))}, "no vertices of three numbers"),
        ({"vertices": packed(np.full((8, 3), np.nan, np.float32))}, "not finite"),
    ],
)
def test_what_is_no_mesh_is_said(asset, with_encoders, changes, words):
    where = ("job", str(with_encoders), "cpu", "fp32")
    with pytest.raises(UserError, match=words):
        asset.run(Encode(*where, arrays=block(1.0, np.zeros(3)) | changes))


def test_previews_come_before_the_voxels_and_change_nothing(asset, monkeypatch):
    monkeypatch.setattr("backend.trellis.engine.PREVIEW_SHARE", float("inf"))
    request = Generate(*asset.where, pictures=(asset.picture,), seed=7, formats=("gaussian",), preview=True)
    told = []
    asset.engine.run(request, lambda *step: None, lambda kind, info, arrays: told.append((kind, arrays)))
    kinds = [kind for kind, _ in told]
    steps = asset.engine._networks.folder.structure_sampler.steps
    assert kinds[: steps - 1] == ["preview"] * (steps - 1) and "preview" not in kinds[steps:]
    assert steps > 1 and np.array_equal(dict(told)["voxels"]["coords"], asset.made["voxels"][1]["coords"])
    assert np.array_equal(dict(told)["gaussian"]["position"], asset.made["gaussian"][1]["position"])


def test_a_candidate_goes_on_to_what_its_seed_makes_at_once(asset):
    asked = {"seed": 7, "formats": ("mesh", "gaussian")}
    candidate, _ = asset.run(Generate(*asset.where, pictures=(asset.picture,), structure_only=True, **asked))
    assert list(candidate) == ["structure_latent", "voxels"]
    latent = packed(candidate["structure_latent"][1]["latent"])
    arrays = {"structure_latent": latent, "picture_0": asset.picture}
    stages = []
    made = {}
    asset.engine.run(
        Complete(*asset.where, arrays=arrays, model_hash=asset.known["model_hash"], **asked),
        lambda stage, step, steps: stages.append(stage),
        lambda kind, info, arrays: made.update({kind: arrays}),
    )
    assert "sparse_structure" not in stages and made.keys() == asset.made.keys()
    for kind, (_, wanted) in asset.made.items():
        for name, values in wanted.items():
            assert np.array_equal(made[kind][name], values), (kind, name)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"model_hash": "other"}, "another model"),
        ({"arrays": {}}, "missing or damaged"),
        ({"arrays": {"structure_latent": Array("f4", (1,), bytes(4))}}, "missing or damaged"),
    ],
)
def test_a_candidate_that_cannot_be_gone_on_from_is_said(asset, changes, words):
    known = {"model_hash": asset.known["model_hash"]} | changes
    arrays = {"picture_0": asset.picture, **known.pop("arrays", {})}
    with pytest.raises(UserError, match=words):
        asset.run(Complete(*asset.where, arrays=arrays, **known))
