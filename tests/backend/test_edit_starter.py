"""What edits promise, on the starter: a chair's back is changed in a corner, and the rest stays."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from unchanged import check_outside, kept_faces, open_edges, outside

from backend.edit import sampling_of
from backend.encoding.closing import closing_layer, mesh_solid
from backend.errors import UserError
from backend.geometry.portrait import portrait
from backend.geometry.region import Region, make_box
from backend.image import cut_out, open_picture
from backend.picture import main as picture_main
from backend.trellis.asset import AssetLatents, latents_of, read_latents, write_latents
from backend.trellis.decoding import StructuredLatent, decode
from backend.trellis.edit import EditSettings, edit
from backend.trellis.editing.layers import mesh_as_it_is
from backend.trellis.editing.region import masks_of
from backend.trellis.encode import decode_asset, encode_mesh
from backend.trellis.generate import generate
from backend.trellis.networks import Networks
from backend.trellis.stages import Output, Settings
from backend.trellis.vary import vary

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
CORNER = Region((make_box([0.25, 0, 0.3], [0.5, 1, 0.3], [1, 0, 0.1, 0]),))
EVERYTHING = Region((make_box([0, 0, 0], [1, 1, 1]),))
STAGES = ("structure", "latent")
MODES = ("replace", "add", "look", "remove")


def outputs_of(events) -> dict:
    return {one.kind: one.value for one in events if isinstance(one, Output)}


class Chair:
    """The upper part of the chair as an asset, and the mushroom's picture as a condition."""

    def __init__(self):
        self.networks = Networks.open("starter", torch.device("cpu"), torch.float32)
        found = self.networks.folder
        self.sampling = Settings(found.structure_sampler, found.slat_sampler, ("mesh", "gaussian"))
        chair, self.other = (self.condition(name) for name in ("chair.png", "mushroom.png"))
        self.whole = whole = latents_of(self.generate(chair, 3), "starter", found.hash)
        top = whole.coords[:, 2] >= 20
        occupied = whole.occupied.clone()
        occupied[:, :, :40] = False
        self.asset = replace(whole, coords=whole.coords[top], feats=whole.feats[top], occupied=occupied)
        self.before = outputs_of(decode_asset(self.networks, self.asset, self.sampling.formats))

    def condition(self, name: str):
        picture = cut_out(open_picture(PICTURES / name), lambda image: image)
        return self.networks.conditioner.from_pictures([picture])

    def generate(self, condition, seed: int) -> dict:
        sampling, random = replace(self.sampling, formats=()), torch.Generator().manual_seed(seed)
        return outputs_of(generate(self.networks, condition, sampling, random))

    def edit(
        self, region: Region, formats=("mesh", "gaussian"), asset: AssetLatents | None = None, **changes
    ) -> dict:
        sampling = replace(self.sampling, formats=formats)
        chosen = EditSettings(**({"sampling": sampling, "seed": 11} | changes))
        guide = None if chosen.mode == "remove" else self.other
        outputs = outputs_of(edit(self.networks, asset or self.asset, guide, region, chosen))
        return outputs | {"asset": latents_of(outputs, "starter", self.asset.model_hash)}


@pytest.fixture(scope="module")
def chair() -> Chair:
    return Chair()


@pytest.fixture(scope="module")
def edited(chair) -> dict[str, dict]:
    """The chair edited in every mode."""
    return {mode: chair.edit(CORNER, mode=mode) for mode in MODES}


@pytest.fixture(scope="module")
def edited_once(chair, tmp_path_factory) -> tuple[dict, AssetLatents]:
    """The whole chair edited on its right, and what its file then holds."""
    right = Region((make_box([0.25, 0, 0.25], [0.3, 1, 0.3]),))
    first = chair.edit(right, asset=chair.whole)
    path = tmp_path_factory.mktemp("edited") / "chair.latents.safetensors"
    write_latents(path, first["asset"])
    return first, read_latents(path)


def test_the_command_line_makes_another_look_from_noise_as_the_add_on_does(chair):
    options = SimpleNamespace(steps=None, guidance=None, strength=None, formats=())
    own = chair.networks.folder.slat_sampler
    assert sampling_of(chair.networks, options, another_look=False).latent == own
    look = sampling_of(chair.networks, options, another_look=True).latent
    assert look.strength == 1.0 and look.steps >= own.steps
    options.strength, options.steps = 0.3, 2
    look = sampling_of(chair.networks, options, another_look=True).latent
    assert (look.strength, look.steps) == (0.3, 2)


@pytest.mark.parametrize("mode", MODES)
def test_what_lies_outside_stays_bit_for_bit(chair, edited, mode):
    kept = check_outside(chair.before, chair.asset, CORNER, edited[mode], 2 if mode != "look" else 0)
    assert kept > 5_000
    assert len(open_edges(edited[mode]["mesh"])) <= len(open_edges(chair.before["mesh"]))


@pytest.mark.parametrize("mode", ["replace", "look"])
def test_a_second_edit_leaves_alone_what_lies_outside_of_it(chair, edited_once, mode):
    """Though a solid reaches across both: of the edited voxels alone it would be filled elsewhere."""
    first, asset = edited_once
    left = Region((make_box([-0.25, 0, 0.25], [0.3, 1, 0.3]),))
    second = chair.edit(left, asset=asset, mode=mode)
    assert check_outside(first, asset, left, second, 2 if mode == "replace" else 0) > 5_000
    if mode == "look":
        assert torch.equal(second["mesh"].vertices, first["mesh"].vertices)


def test_an_edit_without_a_mesh_keeps_what_lies_within(chair, edited):
    """Of which a later edit makes its mesh."""
    splats = chair.edit(CORNER, formats=("gaussian",))
    assert "mesh" not in splats and edited["replace"]["asset"].within.any()
    assert torch.equal(splats["asset"].within, edited["replace"]["asset"].within)


def test_a_picture_and_a_lid_are_those_of_the_edited_mesh(chair, edited, tmp_path):
    """What the latents alone decode to is another one."""
    asset, mesh = (edited["replace"][name] for name in ("asset", "mesh"))
    own = mesh_as_it_is(chair.networks, asset)
    assert torch.equal(own.vertices, mesh.vertices) and torch.equal(own.faces, mesh.faces)
    write_latents(tmp_path / "chair.latents.safetensors", asset)
    place = ["--output", str(tmp_path), "--device", "cpu", "--precision", "fp32"]
    assert picture_main([str(tmp_path / "chair.latents.safetensors"), *place]) == 0
    shown = Image.open(tmp_path / "chair_picture.png")
    assert np.array_equal(np.asarray(shown), np.asarray(portrait(mesh)))
    half = Region((make_box([0.25, 0, 0], [0.5, 1, 1]),))
    taken = masks_of(half, asset, 0).voxels.numpy()
    lid = chair.edit(half, mode="remove", asset=asset, formats=())["asset"].coords
    there = np.zeros_like(taken)
    there[tuple(lid.T.numpy())] = True
    assert np.array_equal(there & taken, closing_layer(mesh_solid(mesh, asset.resolution), taken))


def test_decoding_anew_keeps_nothing_outside(chair, edited):
    """Guards the comparison above: without mixed rows every value moves."""
    after: AssetLatents = edited["replace"]["asset"]
    mesh = decode(chair.networks, "mesh", StructuredLatent(after.coords, after.feats, after.resolution))
    faces = [
        kept_faces(one, outside(one.vertices.numpy(), CORNER, chair.asset, 2))
        for one in (mesh, chair.before["mesh"])
    ]
    naive, true = ({one.tobytes() for one in some} for some in faces)
    assert len(true) > 5_000 and not naive & true


def test_the_corner_is_another_one(chair, edited):
    there, now = (
        {tuple(c) for c in one.coords.tolist()} for one in (chair.asset, edited["replace"]["asset"])
    )
    assert len(there ^ now) > 0.05 * len(there)
    added = {tuple(c) for c in edited["add"]["asset"].coords.tolist()}
    assert there < added


def test_only_colours_change_where_the_look_does(chair, edited):
    mesh, before = edited["look"]["mesh"], chair.before["mesh"]
    for name in ("vertices", "faces", "normals"):
        assert torch.equal(getattr(mesh, name), getattr(before, name))
    changed = (mesh.colors != before.colors).any(1)
    near = ~outside(before.vertices.numpy(), CORNER, chair.asset, 0)
    assert changed.float().mean() > 0.02 and not changed[~torch.from_numpy(near)].any()


def test_the_look_may_start_from_what_is_there(chair):
    latent = replace(chair.sampling.latent, strength=0.5, steps=3)
    sampling = replace(chair.sampling, formats=(), latent=latent)
    after = chair.edit(CORNER, mode="look", start="asset", sampling=sampling)["asset"]
    moved = (after.feats - chair.asset.feats).abs().amax(1)
    assert 0.05 < (moved > 0.1).float().mean() < 0.5


def test_a_shape_may_start_from_what_is_there(chair):
    """What the sample leaves alone is the asset's own, whatever the guide shows."""

    def edited(strength: float) -> AssetLatents:
        stages = {name: replace(getattr(chair.sampling, name), strength=strength) for name in STAGES}
        sampling = replace(chair.sampling, formats=(), **stages)
        return chair.edit(CORNER, start="asset", sampling=sampling)["asset"]

    with pytest.raises(UserError, match="does not differ"):
        edited(0.001)
    there, now = ({tuple(c) for c in one.coords.tolist()} for one in (chair.asset, edited(0.3)))
    assert 0 < len(there ^ now) < 0.1 * len(there)


@pytest.mark.parametrize("mode", ["replace", "add"])
def test_a_region_too_thin_for_the_structure_is_too_small(chair, mode):
    thin = Region((make_box([0, 0, 20.5 / 32 - 0.5], [0.9, 1, 0.012]),))
    assert masks_of(thin, chair.asset, 0).voxels.any()
    with pytest.raises(UserError, match="too small.* 1/32 of the asset wide"):
        chair.edit(thin, mode=mode, formats=())


def test_a_region_round_everything_is_plain_generation(chair):
    plain, after = chair.generate(chair.other, 11), chair.edit(EVERYTHING, formats=())
    for name in ("structure_latent", "occupied", "coords", "feats"):
        assert torch.equal(getattr(after["asset"], name), getattr(latents_of(plain, "", ""), name))


def test_the_same_request_gives_the_same_result(chair, edited):
    again = chair.edit(CORNER, mode="replace")
    assert torch.equal(again["asset"].feats, edited["replace"]["asset"].feats)
    assert torch.equal(again["mesh"].vertices, edited["replace"]["mesh"].vertices)


def test_a_variant_of_the_shape_is_as_thick_as_the_asset(chair):
    """Also where its voxels, which are fatter, tell the shape, for something was removed."""
    top = Region((make_box([0, 0, 0.4], [1, 1, 0.3]),))
    bare = chair.edit(top, asset=chair.whole, mode="remove", formats=("mesh",))
    sampling = replace(chair.sampling, formats=("mesh",))
    varied = outputs_of(
        vary(chair.networks, bare["asset"], chair.condition("chair.png"), sampling, 3, shape=True)
    )
    before, after = (
        trimesh.Trimesh(one["mesh"].vertices, one["mesh"].faces, process=False).volume
        for one in (bare, varied)
    )
    assert 0.95 < after / before < 1.05


def test_a_variant_of_the_shape_keeps_away_what_was_removed(chair):
    top = Region((make_box([0, 0, 0.4], [1, 1, 0.3]),))
    bare = chair.edit(top, asset=chair.whole, mode="remove", formats=())["asset"]
    stays = ~masks_of(top, chair.whole, 2).voxels
    sampling = replace(chair.sampling, formats=())
    chair_itself = chair.condition("chair.png")

    def filled(asset: AssetLatents) -> torch.Tensor:
        there = torch.zeros_like(stays)
        there[tuple(asset.coords.long().T)] = True
        return there

    def varied(asset: AssetLatents, seed: int) -> torch.Tensor:
        outputs = outputs_of(vary(chair.networks, asset, chair_itself, sampling, seed, shape=True))
        return filled(latents_of(outputs, "starter", ""))

    def alike(one: torch.Tensor, other: torch.Tensor) -> float:
        return float((one & other).sum() / (one | other).sum())

    whole, cut, again, same, other = (
        filled(chair.whole), filled(bare), varied(bare, 3), varied(chair.whole, 3), varied(chair.whole, 4)
    )  # fmt: skip
    assert (whole & ~stays).sum() > 4 * (cut & ~stays).sum()
    assert (again & ~stays).sum() < 1.3 * (cut & ~stays).sum()
    assert 0.9 < alike(again & stays, cut & stays) < 1
    assert 0.8 < alike(same, whole) < 1 and 0.8 < alike(same, other) < 1


def test_a_grey_post_gets_the_colour_of_a_picture_of_a_red_ball(chair):
    """Whatever the model guesses of the picture's shape."""
    post = trimesh.creation.box((0.3, 0.3, 1.0)).subdivide_to_size(0.05)
    grey = np.full((len(post.vertices), 3), 0.8)
    asset, _ = encode_mesh(chair.networks, post.vertices, np.asarray(post.faces), grey)
    red = np.zeros((256, 256, 4), np.uint8)
    red[np.hypot(*(np.mgrid[:256, :256] - 127.5)) < 100] = (210, 30, 30, 255)
    picture = cut_out(Image.fromarray(red), lambda image: image)
    sampling = replace(chair.sampling, formats=("mesh",))
    mesh = outputs_of(vary(chair.networks, asset, [picture], sampling, seed=1))["mesh"]
    assert float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).argmax()) == 2
    redness = mesh.colors[:, 0] - mesh.colors[:, 1:].amax(1)
    assert (redness > 0.3).float().mean() > 0.95


def test_a_lid_closes_the_cut():
    """Of a post that is cut at its middle, all columns end at the cut."""
    networks = Networks.open("starter", torch.device("cpu"), torch.float32)
    post = trimesh.creation.cylinder(0.2, 1.0, sections=64).subdivide_to_size(0.05)
    asset, _ = encode_mesh(
        networks, post.vertices, np.asarray(post.faces), np.full((len(post.vertices), 3), 0.5)
    )
    found = networks.folder
    sampling = Settings(found.structure_sampler, found.slat_sampler, ("mesh",))
    upper = Region((make_box([0, 0, 0.25], [1, 1, 0.5]),))
    mesh = outputs_of(edit(networks, asset, None, upper, EditSettings(sampling, mode="remove")))["mesh"]
    points = mesh.vertices.numpy()
    top = points[np.hypot(points[:, 0], points[:, 1]) < 0.15]
    cells = np.floor((top[:, :2] + 0.5) * 32).astype(int)
    highest = np.full((32, 32), -1.0)
    np.maximum.at(highest, tuple(cells.T), top[:, 2])
    inner = np.hypot(*(np.mgrid[:32, :32] + 0.5) / 32 - 0.5) < 0.12
    assert (np.abs(highest[inner] - 0.75 / 32) < 0.5 / 32).mean() > 0.97
    assert points[:, 2].max() < 1.2 / 32
