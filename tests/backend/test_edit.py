"""Regions change and the rest stays, array by array, on the tiny model, where every value counts."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_model import write_tiny_encoders, write_tiny_model
from unchanged import check_outside, kept_faces, open_edges, outside

from backend.checkpoints.model_folder import Normalization
from backend.edit import asset_options, open_asset
from backend.edit import main as edit_main
from backend.encoding.latent_encoders import StructureEncoder
from backend.errors import UserError
from backend.generate import explain
from backend.generate import main as generate_main
from backend.geometry.region import Region, make_box, make_closed_mesh
from backend.image import open_picture, preprocess
from backend.lifting.outline import NominalCamera, Outline
from backend.representations.flexicubes import cubes_of
from backend.representations.mesh import Mesh
from backend.representations.mixing import mixed_mesh
from backend.trellis.asset import AssetLatents, hash_of_guide, latents_of, read_latents, write_latents
from backend.trellis.decoding import Layer, StructuredLatent, decode
from backend.trellis.edit import EditSettings, edit
from backend.trellis.editing.layers import with_history
from backend.trellis.editing.region import check_edit, masks_of
from backend.trellis.generate import generate
from backend.trellis.networks import Networks
from backend.trellis.stages import Output, Settings
from backend.trellis.vary import vary
from backend.vary import main as vary_main

FORMATS = ("gaussian", "radiance_field", "mesh")


def outputs_of(events) -> dict:
    return {one.kind: one.value for one in events if isinstance(one, Output)}


class Tiny:
    """The tiny model, two conditions, and an asset made under the first."""

    def __init__(self, folder, picture):
        self.networks = Networks.open(folder, torch.device("cpu"), torch.float32)
        pictures = [preprocess(open_picture(picture), lambda image: image)]
        self.condition = self.networks.conditioner.from_pictures(pictures)
        tokens = tuple(one.flip(1) * 2 for one in self.condition.tokens)
        self.other = replace(self.condition, tokens=tokens)
        found = self.networks.folder
        self.sampling = Settings(found.structure_sampler, found.slat_sampler, FORMATS)
        self.made = self.generate(self.condition, 7)
        latent, voxels = self.made["structured_latent"], self.made["voxels"]
        self.asset = AssetLatents(
            self.made["structure_latent"],
            voxels.occupied,
            voxels.coords,
            latent.feats,
            voxels.resolution,
            "tiny",
            found.hash,
        )

    def generate(self, condition, seed: int) -> dict:
        return outputs_of(
            generate(self.networks, condition, self.sampling, torch.Generator().manual_seed(seed))
        )

    def edit(self, region: Region, asset: AssetLatents | None = None, **changes) -> dict:
        chosen = EditSettings(**({"sampling": self.sampling, "seed": 11} | changes))
        guide = None if chosen.mode == "remove" else self.other
        outputs = outputs_of(edit(self.networks, asset or self.asset, guide, region, chosen))
        return outputs | {"asset": latents_of(outputs, self.asset.model, self.asset.model_hash)}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    from PIL import Image

    folder = tmp_path_factory.mktemp("edit")
    picture = np.zeros((96, 96, 4), np.uint8)
    picture[20:80, 20:80] = [200, 120, 40, 255]
    Image.fromarray(picture).save(folder / "square.png")
    return Tiny(write_tiny_model(folder / "tiny"), folder / "square.png")


HALF = Region((make_box([0.25, 0, 0], [0.5, 1, 1]),))
EVERYTHING = Region((make_box([0, 0, 0], [1, 1, 1]),))


@pytest.mark.parametrize("mode", ["replace", "add", "look", "remove"])
@pytest.mark.parametrize("margin", [0, 2])
def test_what_lies_outside_stays_bit_for_bit(tiny, mode, margin):
    after = tiny.edit(HALF, mode=mode, margin=margin, jumps=2)
    kept = check_outside(tiny.made, tiny.asset, HALF, after, margin)
    assert kept > 100
    assert not torch.equal(after["mesh"].vertices, tiny.made["mesh"].vertices) or not torch.equal(
        after["mesh"].colors, tiny.made["mesh"].colors
    )


def test_decoding_anew_keeps_nothing_outside(tiny):
    """Guards the comparison above: without mixed rows every value moves."""
    after = tiny.edit(HALF)
    edited = after["asset"]
    mesh = decode(tiny.networks, "mesh", StructuredLatent(edited.coords, edited.feats, edited.resolution))
    naive = kept_faces(mesh, outside(mesh.vertices.numpy(), HALF, tiny.asset, 2))
    true = kept_faces(tiny.made["mesh"], outside(tiny.made["mesh"].vertices.numpy(), HALF, tiny.asset, 2))
    same = {one.tobytes() for one in naive} & {one.tobytes() for one in true}
    assert len(true) > 100 and not same


def test_a_region_round_everything_is_plain_generation(tiny):
    plain, after = tiny.generate(tiny.other, 11), tiny.edit(EVERYTHING)
    assert torch.equal(after["structure_latent"], plain["structure_latent"])
    assert torch.equal(after["voxels"].coords, plain["voxels"].coords)
    assert torch.equal(after["structured_latent"].feats, plain["structured_latent"].feats)
    assert torch.equal(after["mesh"].vertices, plain["mesh"].vertices)
    assert torch.equal(after["gaussian"].position, plain["gaussian"].position)


@pytest.mark.parametrize("look", [False, True])
def test_vertices_out_of_reach_are_the_old_ones_however_they_are_rounded(tiny, look):
    was = tiny.made["mesh"]
    order = torch.randperm(len(was.vertices), generator=torch.Generator().manual_seed(0))[100:]
    values = {name: getattr(was, name)[order] + 1e-6 for name in ("vertices", "colors", "normals")}
    keys = was.keys[order]
    fresh = (torch.arange(len(order)) % 7 == 0) & ~torch.isin(keys | 3, was.keys)
    made = Mesh(faces=was.faces[:0], keys=torch.where(fresh, keys | 3, keys), **values)
    changed = masks_of(HALF, tiny.asset, 1).voxels
    # Distances in fine cubes, along the axis that is farthest, to the changed half x >= 8 voxels.
    far = cubes_of(keys, 64)[:, 0] < 8 * 4 - 2
    assert min((far & fresh).sum(), (far & ~fresh).sum(), (~far).sum()) > 20
    mixed, kept = mixed_mesh(was, made, changed, look)
    assert torch.equal(kept, far & ~fresh)
    for name in values:
        old = ~fresh if look and name != "colors" else far & ~fresh
        expected = torch.where(old[:, None], getattr(was, name)[order], values[name])
        assert torch.equal(getattr(mixed, name), expected)


def test_where_no_vertex_was_all_are_new(tiny):
    made = tiny.made["mesh"]
    nothing = Mesh(
        *(value[:0] for value in (made.vertices, made.faces, made.colors, made.normals, made.keys))
    )
    mixed, kept = mixed_mesh(nothing, made, torch.zeros(16, 16, 16, dtype=torch.bool), look=False)
    assert not kept.any()
    assert torch.equal(mixed.vertices, made.vertices) and torch.equal(mixed.keys, made.keys)
    none, _ = mixed_mesh(made, nothing, torch.ones(16, 16, 16, dtype=torch.bool), look=False)
    assert len(none.vertices) == 0


def test_the_same_request_gives_the_same_result_and_another_seed_does_not(tiny):
    first, again, other = (tiny.edit(HALF, seed=seed, jumps=2) for seed in (3, 3, 4))
    assert torch.equal(first["mesh"].vertices, again["mesh"].vertices)
    assert not torch.equal(first["asset"].feats[:50], other["asset"].feats[:50]) or not torch.equal(
        first["structure_latent"], other["structure_latent"]
    )


def test_an_edit_starts_from_the_edit_before(tiny):
    other = Region((make_box([-0.35, 0, 0], [0.3, 1, 1]),))
    first = tiny.edit(HALF)
    second = tiny.edit(other, asset=first["asset"], seed=5)
    check_outside(first, first["asset"], other, second, 2)


def test_only_colours_change_where_the_look_does(tiny):
    after = tiny.edit(HALF, mode="look")
    mesh, before = after["mesh"], tiny.made["mesh"]
    assert torch.equal(mesh.vertices, before.vertices) and torch.equal(mesh.faces, before.faces)
    assert torch.equal(mesh.normals, before.normals) and not torch.equal(mesh.colors, before.colors)
    splats, then = after["gaussian"], tiny.made["gaussian"]
    assert torch.equal(splats.position, then.position) and torch.equal(splats.opacity, then.opacity)
    assert not torch.equal(splats.color_dc, then.color_dc)


def test_remove_takes_the_voxels_away(tiny):
    after = tiny.edit(HALF, mode="remove", close_cut=False)
    left = tiny.asset.coords[:, 0] < 8
    assert torch.equal(after["voxels"].coords, tiny.asset.coords[left])
    assert torch.equal(after["asset"].feats, tiny.asset.feats[left])
    assert not after["asset"].occupied[8:].any()


def test_what_is_removed_leaves_the_latent_that_variants_start_from(tiny, tmp_path):
    folder = tmp_path / "tiny"
    shutil.copytree(tiny.networks.folder.path, folder)
    write_tiny_encoders(folder)
    networks = Networks.open(folder, torch.device("cpu"), torch.float32)
    removal = EditSettings(tiny.sampling, mode="remove")
    made = outputs_of(edit(networks, tiny.asset, None, HALF, removal))
    latent, before = made["structure_latent"][0], tiny.asset.structure_latent[0]
    encoded = StructureEncoder(networks.folder, networks.device)(made["voxels"].occupied.numpy())
    half = latent.shape[-1] // 2
    assert torch.equal(latent[:, half:], encoded[:, half:])
    assert torch.equal(latent[:, : half - 1], before[:, : half - 1])  # the cells between are grown into
    assert not torch.equal(latent[:, half:], before[:, half:])


def test_a_text_model_closes_a_cut_without_an_encoder(tiny, text_model):
    networks = Networks.open(text_model, torch.device("cpu"), torch.float32)
    removal = EditSettings(replace(tiny.sampling, formats=()), mode="remove")
    made = outputs_of(edit(networks, tiny.asset, None, HALF, removal))
    assert made["voxels"].coords[:, 0].max() == 8


def test_a_cut_is_closed_by_one_layer_within_the_region(tiny):
    after = tiny.edit(HALF, mode="remove")
    assert after["voxels"].coords[:, 0].max() == 8
    lid = after["voxels"].coords[:, 0] == 8
    assert 0 < lid.sum() <= 16 * 16 and not after["asset"].occupied[9:].any()
    again = tiny.edit(HALF, mode="remove")
    assert torch.equal(after["asset"].feats, again["asset"].feats)


def test_what_is_there_stays_where_something_is_added(tiny):
    after = tiny.edit(HALF, mode="add", margin=0)
    old = {tuple(place): n for n, place in enumerate(tiny.asset.coords.tolist())}
    rows = [old.get(tuple(place), -1) for place in after["voxels"].coords.tolist()]
    kept = torch.tensor(rows) >= 0
    assert kept.sum() == len(old) < len(rows)
    assert torch.equal(after["asset"].feats[kept], tiny.asset.feats)
    splats = after["gaussian"].position.unflatten(0, (len(rows), -1))[kept]
    assert torch.equal(splats.flatten(0, 1), tiny.made["gaussian"].position)


def test_an_edit_that_changes_nothing_says_so(tiny):
    still = replace(tiny.sampling.latent, strength=0.001, cfg_strength=0.0)
    sampling = replace(tiny.sampling, latent=still)
    with pytest.raises(UserError, match="does not differ"):
        tiny.edit(HALF, mode="look", sampling=sampling, start="asset")


def test_no_new_edge_is_left_open_at_the_seam(tiny):
    for mode in ("replace", "remove"):
        assert len(open_edges(tiny.edit(HALF, mode=mode)["mesh"])) == 0


@given(
    st.tuples(*[st.floats(-0.4, 0.4)] * 3),
    st.tuples(*[st.floats(0.15, 0.6)] * 3),
    st.sampled_from(["replace", "add", "look", "remove"]),
    st.integers(0, 3),
)
@settings(max_examples=6, deadline=None)
def test_any_box_keeps_what_lies_outside(tiny, center, size, mode, margin):
    region = Region((make_box(center, size, [1, 0.2, 0.1, 0.4]),))
    try:
        after = tiny.edit(region, mode=mode, margin=margin)
    except UserError as error:
        assert any(word in str(error) for word in ("region", "Nothing would be left"))
        return
    check_outside(tiny.made, tiny.asset, region, after, margin)


@pytest.mark.parametrize(
    ("changes", "words"), [({"margin": -1}, "margin"), ({"jumps": 0}, "jumps"), ({"growth": 9}, "growth")]
)
def test_settings_out_of_range_are_one_sentence(tiny, changes, words):
    with pytest.raises(UserError, match=words):
        tiny.edit(HALF, **changes)


def corner_of(tiny) -> AssetLatents:
    """The asset with the voxels of its lowest quarter along x alone."""
    kept = tiny.asset.coords[:, 0] < 4
    return replace(tiny.asset, coords=tiny.asset.coords[kept], feats=tiny.asset.feats[kept])


def box_as_mesh(center, size) -> Region:
    mesh = trimesh.creation.box(size)
    return Region(meshes=(make_closed_mesh(mesh.vertices + center, mesh.faces),))


@pytest.mark.parametrize(
    ("region", "mode", "words"),
    [
        (Region((make_box([3, 0, 0], [1, 1, 1]),)), "replace", r"outside of the asset's space, 2\.8 times"),
        (box_as_mesh([3, 0, 0], [1, 1, 1]), "add", r"outside of the asset's space, 2\.8 times"),
        (Region((make_box([0.03, 0.03, 0.03], [0.001] * 3),)), "replace", r"0\.3\d times .*least 1/16"),
        (Region((make_box([-0.4, 0, 0], [0.001] * 3),)), "replace", "lies on the asset"),
        (HALF, "look", r"which lies 0\.31 times the asset's size away"),
        (HALF, "remove", "nothing of the asset in the region"),
        (EVERYTHING, "replace", "use Generate or Vary"),
        (EVERYTHING, "look", "use Generate or Vary"),
        (EVERYTHING, "remove", "Nothing would be left"),
    ],
)
def test_regions_that_cannot_be_are_one_sentence(tiny, region, mode, words):
    with pytest.raises(UserError, match=words):
        check_edit(region, corner_of(tiny), mode, tiny.sampling)


def test_regions_beside_the_asset_and_round_it_may_be_added_to(tiny):
    for region, mode in ((HALF, "replace"), (HALF, "add"), (EVERYTHING, "add")):
        check_edit(region, corner_of(tiny), mode, tiny.sampling)


def test_a_model_that_only_refines_is_asked_for_another_picture(tiny):
    asset = replace(tiny.asset, guide_hash=hash_of_guide([b"picture"]))
    weak = replace(tiny.sampling.structure, strength=0.1)
    refining = replace(tiny.sampling, structure=weak, latent=weak)
    with pytest.raises(UserError, match="another one"):
        check_edit(HALF, asset, "replace", refining, hash_of_guide([b"picture"]))
    for sampling, mode, guide in (
        (refining, "replace", hash_of_guide([b"other"])),
        (refining, "replace", ""),
        (refining, "remove", asset.guide_hash),
        (replace(refining, structure=tiny.sampling.structure), "replace", asset.guide_hash),
        (tiny.sampling, "look", asset.guide_hash),
    ):
        check_edit(HALF, asset, mode, sampling, guide)
    with pytest.raises(UserError, match="another one"):
        check_edit(
            HALF, asset, "look", replace(refining, structure=tiny.sampling.structure), asset.guide_hash
        )


def test_latents_are_read_as_they_were_written(tiny, tmp_path):
    path = tmp_path / "asset.latents.safetensors"
    write_latents(path, tiny.asset)
    read = read_latents(path)
    for name in ("structure_latent", "occupied", "coords", "feats"):
        assert torch.equal(getattr(read, name), getattr(tiny.asset, name))
    assert (read.resolution, read.model, read.model_hash) == (16, "tiny", tiny.asset.model_hash)


def test_what_are_no_latents_is_one_sentence(tiny, tmp_path):
    path = tmp_path / "asset.latents.safetensors"
    with pytest.raises(UserError, match="no latents"):
        read_latents(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match="cannot be read"):
        read_latents(path)
    write_latents(path, replace(tiny.asset, feats=tiny.asset.feats * float("nan")))
    with pytest.raises(UserError, match="damaged"):
        read_latents(path)
    write_latents(path, replace(tiny.asset, coords=tiny.asset.coords.flip(0)))
    with pytest.raises(UserError, match="damaged"):
        read_latents(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("coords", torch.zeros(3)),
        ("coords", torch.zeros((), dtype=torch.int32)),
        ("feats", torch.zeros(5, 4, dtype=torch.complex64)),
        ("structure_latent", torch.zeros(4)),
        ("occupied", torch.zeros(4, 4, 4, dtype=torch.bool)),
        ("source", torch.zeros(())),
        ("layer_sizes", torch.zeros((), dtype=torch.int32)),
        ("outline_alpha", torch.zeros(2, dtype=torch.uint8)),
        ("outline_view", torch.zeros(9, 5)),
        ("within", torch.zeros(1)),
    ],
    ids=str,
)
def test_latents_of_other_kinds_are_one_sentence(tiny, tmp_path, name, value):
    path = tmp_path / "asset.latents.safetensors"
    layered = replace(
        tiny.asset,
        layers=(Layer(tiny.asset.coords, tiny.asset.feats),),
        source=torch.ones(len(tiny.asset.coords), 2, dtype=torch.uint8),
        outline=Outline(torch.zeros(8, 8), NominalCamera(0.3, 0.7), 32, 1.0, (0.0, 0.0)),
    )
    write_latents(path, layered)
    with safe_open(path, "pt") as file:
        about, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}
    assert read_latents(path).outline is not None
    save_file(tensors | {name: value}, path, about)
    with pytest.raises(UserError, match="latents in .* are damaged"):
        read_latents(path)


def test_layers_beyond_what_can_be_numbered_are_one_sentence(tiny):
    """Every voxel of its own layer, of which the first is numbered 0 and there are 256."""
    count = len(tiny.asset.coords)
    layers = (Layer(tiny.asset.coords, tiny.asset.feats),) * 255
    number = (torch.arange(count) % 255).to(torch.uint8)
    asset = replace(tiny.asset, layers=layers, source=torch.stack([number, number], dim=1))
    rows, own = torch.arange(count), torch.zeros(count, dtype=torch.bool)
    kept = with_history(asset, asset, rows, own, look=False)
    assert torch.equal(kept.source, asset.source) and len(kept.layers) == 255
    number[-1] = 255
    with pytest.raises(UserError, match="edited too often: its voxels come from 256 edits"):
        with_history(replace(asset, source=torch.stack([number, number], 1)), asset, rows, own, look=False)


def test_a_model_normalised_for_other_latents_is_one_sentence(tiny):
    folder = replace(tiny.networks.folder, slat_normalization=Normalization((0.0,) * 3, (1.0,) * 3))
    networks = Networks(folder, torch.device("cpu"), torch.float32)
    with pytest.raises(UserError, match="tiny has 3 numbers in slat_normalization for latents of 4"):
        outputs_of(generate(networks, tiny.condition, tiny.sampling, torch.Generator()))


# --- the commands ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tiny, tmp_path_factory):
    """The folder of an asset that the command line made of the tiny model, and its picture."""
    folder = tmp_path_factory.mktemp("commands")
    model = tiny.networks.folder.path
    picture = model.parent / "square.png"
    made = ["--output", str(folder), "--seed", "7", "--precision", "fp32", "--device", "cpu"]
    made += ["--finish", "raw"]
    assert generate_main([str(picture), "--model", str(model), *made]) == 0
    assert (folder / "square.latents.safetensors").is_file()
    (folder / "half.json").write_text(json.dumps({"boxes": [{"center": [0.25, 0, 0], "size": [0.5, 1, 1]}]}))
    return folder, picture


def run_edit(files, *options, main=edit_main) -> int:
    folder, picture = files
    common = ["--output", str(folder), "--precision", "fp32", "--device", "cpu", "--picture", str(picture)]
    return main([str(folder / "square.latents.safetensors"), *common, *options])


def test_an_edit_from_the_command_line_keeps_the_outside(tiny, files):
    folder = files[0]
    assert run_edit(files, "--region", str(folder / "half.json"), "--seed", "11", "--name", "new") == 0
    assert (folder / "new.glb").is_file() and (folder / "new.ply").is_file()
    before, after = (read_latents(folder / f"{name}.latents.safetensors") for name in ("square", "new"))
    outside = [one.coords[:, 0] < 8 for one in (before, after)]
    assert torch.equal(before.coords[outside[0]], after.coords[outside[1]])
    assert torch.equal(before.feats[outside[0]], after.feats[outside[1]])
    assert not torch.equal(before.structure_latent, after.structure_latent)


@pytest.mark.parametrize("main", [edit_main, vary_main])
def test_a_picture_and_a_sentence_at_once_are_refused(files, capsys, main):
    region = ("--region", str(files[0] / "half.json")) if main is edit_main else ()
    assert run_edit(files, *region, "--prompt", "a chair", main=main) == 2
    assert "both a picture and a prompt" in capsys.readouterr().err


def test_results_go_into_a_folder_that_the_name_has(files):
    folder = files[0]
    (folder / "below").mkdir()
    assert (
        run_edit(files, "--region", str(folder / "half.json"), "--mode", "remove", "--name", "below/new") == 0
    )
    assert {path.name for path in (folder / "below").iterdir()} == {
        "new.glb",
        "new.ply",
        "new.latents.safetensors",
    }


@pytest.mark.parametrize("memory", ["auto", "keep", "release"])
def test_networks_leave_the_card_as_the_option_says(files, memory):
    asset = str(files[0] / "square.latents.safetensors")
    wanted = asset_options("picture", "").parse_args([asset, "--output", "", "--memory", memory])
    assert open_asset(wanted)[0].residency.setting == memory


def test_variants_from_the_command_line_keep_the_voxels(files):
    folder = files[0]
    assert run_edit(files, "--count", "2", "--seed", "5", main=vary_main) == 0
    base, *variants = (
        read_latents(folder / f"{name}.latents.safetensors")
        for name in ("square", "square_variant_1", "square_variant_2")
    )
    assert all(torch.equal(base.coords, one.coords) for one in variants)
    assert not torch.equal(variants[0].feats, variants[1].feats)


@pytest.mark.parametrize("fault", [MemoryError(), ValueError("odd"), UserError("The first is none.")])
def test_a_variant_that_fails_leaves_the_others(files, capsys, monkeypatch, fault):
    def first_fails(networks, asset, guide, sampling, seed, shape):
        if seed == 5:
            raise fault
        yield from vary(networks, asset, guide, sampling, seed, shape)

    monkeypatch.setattr("backend.vary.vary", first_fails)
    assert run_edit(files, "--count", "2", "--seed", "5", "--name", "of_two", main=vary_main) == 1
    told = capsys.readouterr()
    assert "Traceback" not in told.out and explain(fault) in told.err
    assert told.out == "of_two_2.ply, of_two_2.glb, of_two_2.latents.safetensors\n"
    assert run_edit(files, "--seed", "5", "--name", "alone", main=vary_main) == 2


def test_a_touch_stays_nearer_than_an_invention(tiny):
    moved = []
    for strength in (0.05, 1.0):
        sampling = replace(tiny.sampling, latent=replace(tiny.sampling.latent, strength=strength))
        made = outputs_of(vary(tiny.networks, tiny.asset, tiny.condition, sampling, seed=3))
        moved.append((made["structured_latent"].feats - tiny.asset.feats).abs().mean())
    assert moved[0] < 0.3 * moved[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--region", "nowhere.json"], "region nowhere.json cannot be read"),
        (["--model", "starter"], "another model"),
        (["--margin", "99"], "margin"),
        (["--strength", "nan"], "strength"),
        (["--name", "nowhere/a"], "nowhere does not exist"),
        (["--region", "/dev/zero"], "a device"),
    ],
)
def test_what_cannot_be_edited_is_one_sentence(files, capsys, options, words):
    given = options if "--region" in options else ["--region", str(files[0] / "half.json"), *options]
    assert run_edit(files, *given) == 2
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said


def test_a_region_with_a_byte_order_mark_is_read(files, capsys):
    region = files[0] / "bom.json"
    region.write_text((files[0] / "half.json").read_text(), encoding="utf-8-sig")
    assert run_edit(files, "--region", str(region), "--margin", "99") == 2
    assert "margin" in capsys.readouterr().err  # what is looked at after the region


@pytest.mark.parametrize("name", ["../x", "below/../../x", "/x"])
def test_names_do_not_lead_out_of_the_output_folder(files, capsys, name):
    with pytest.raises(SystemExit) as left:
        run_edit(files, "--region", str(files[0] / "half.json"), "--name", name)
    assert left.value.code == 2 and "leads out of the output folder" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".glb", ".latents.safetensors"])
def test_a_variant_whose_name_is_a_folders_is_refused_before_any_is_made(files, capsys, suffix):
    (files[0] / f"taken_2{suffix}").mkdir()
    assert run_edit(files, "--count", "2", "--name", "taken", main=vary_main) == 2
    assert f"taken_2{suffix} is not an ordinary file" in capsys.readouterr().err
    assert not (files[0] / "taken_1.latents.safetensors").exists()
    (files[0] / f"taken_2{suffix}").rmdir()


def test_the_asset_that_is_edited_is_not_overwritten(files, capsys):
    latents = files[0] / "square.latents.safetensors"
    before = latents.read_bytes()
    assert run_edit(files, "--region", str(files[0] / "half.json"), "--name", "square") == 2
    assert f"{latents} would be overwritten; choose another name" in capsys.readouterr().err
    assert latents.read_bytes() == before


@pytest.mark.parametrize("count", ["0", "-3", "many"])
def test_a_count_of_no_variants_is_refused(files, capsys, count):
    with pytest.raises(SystemExit) as left:
        run_edit(files, "--count", count, main=vary_main)
    assert left.value.code == 2 and "--count" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["replace", "look", "remove"])
def test_what_two_edits_leave_alone_is_what_it_was_at_first(tiny, mode):
    """Decoding the edited latents anew would move it: the second edit decodes of the first latents."""
    first = tiny.edit(HALF, mode="look" if mode == "look" else "replace")
    corner = Region((make_box([-0.4, -0.4, -0.4], [0.2, 0.2, 0.2]),))
    second = tiny.edit(corner, asset=first["asset"], seed=5, mode=mode)
    assert check_outside(first, first["asset"], corner, second, 2) > 100
    assert len(second["asset"].layers) == 2  # the first latents and the first edit's
    third = tiny.edit(HALF, asset=second["asset"], seed=6, mode=mode if mode == "look" else "replace")
    check_outside(second, second["asset"], HALF, third, 2)
    both = Region((*HALF.boxes, *corner.boxes))
    faces = [
        kept_faces(one["mesh"], outside(one["mesh"].vertices.numpy(), both, tiny.asset, 2))
        for one in (tiny.made, third)
    ]
    assert len(faces[0]) > 100 and np.array_equal(*faces)


def test_layers_survive_their_file(tiny, tmp_path):
    edited = tiny.edit(HALF)["asset"]
    write_latents(tmp_path / "edited.latents.safetensors", edited)
    again = read_latents(tmp_path / "edited.latents.safetensors")
    assert torch.equal(again.source, edited.source) and len(again.layers) == len(edited.layers) == 1
    assert torch.equal(again.layers[0].feats, tiny.asset.feats)
    assert torch.equal(again.layers[0].coords, tiny.asset.coords)
