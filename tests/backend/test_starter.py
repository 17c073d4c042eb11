"""The checkpoint that comes with the software: whole, small, and able to make a shape of a real picture."""

import json
from pathlib import Path

import numpy
import pytest
import torch
import trimesh

from backend.background.choice import cut_out_as
from backend.checkpoints.find_model import WEIGHTS
from backend.checkpoints.model_folder import open_folder
from backend.generate import main
from backend.image import open_picture
from backend.representations.gaussians import read_ply
from backend.trellis.decoding import estimated_voxels
from backend.trellis.generate import generate
from backend.trellis.networks import Networks
from backend.trellis.stages import Output, Settings, Step

STARTER = WEIGHTS / "starter"
PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "chair.png"
CPU = ("--device", "cpu", "--precision")


def test_it_is_whole_small_and_says_where_it_comes_from():
    folder = open_folder("starter")  # verifies every sum
    files = [path for path in STARTER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 48e6
    listed = {line.split()[1].lstrip("*") for line in (STARTER / "SHA256SUMS").read_text().splitlines()}
    weights = {
        path.relative_to(STARTER).as_posix() for path in files if path.suffix in (".json", ".safetensors")
    }
    assert weights <= listed
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md", ".csv", ""}
    assert {"slat_decoder_mesh", "slat_decoder_gs", "slat_flow_model"} <= set(folder.models)
    assert "CC-BY" in (STARTER / "ATTRIBUTION.md").read_text() and (STARTER / "LICENSE").is_file()


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def made(request, tmp_path_factory) -> Path:
    """The folder, named after its precision, of what the starter makes: "auto" is either of them."""
    output = tmp_path_factory.mktemp("starter") / request.param
    assert (
        main([str(PICTURE), "--output", str(output), "--seed", "3", "--finish", "raw", *CPU, request.param])
        == 0
    )
    return output


def test_a_real_picture_becomes_a_shape_of_its_proportions(made):
    mesh = trimesh.load(made / "chair.glb", force="mesh")
    assert len(mesh.faces) > 2000
    right, up, toward = mesh.bounds[1] - mesh.bounds[0]
    assert 0.3 < up <= 1.05 and 0.2 < right < up * 1.2 and toward <= 1.05  # a chair is taller than wide
    assert read_ply(made / "chair.ply").color_dc.std(0).max() > 0.05  # and not of one colour


def test_mesh_and_gaussians_lie_in_one_place(made):
    mesh = trimesh.load(made / "chair.glb", force="mesh")
    splats = read_ply(made / "chair.ply").position.numpy()
    y_up = numpy.stack([splats[:, 0], splats[:, 2], -splats[:, 1]], axis=1)
    surface = mesh.sample(5000)
    assert numpy.abs(y_up.mean(0) - surface.mean(0)).max() < 0.1
    ends = [0.01, 0.1, 0.9, 0.99]  # thin legs, too
    assert numpy.abs(numpy.quantile(y_up, ends, 0) - numpy.quantile(surface, ends, 0)).max() < 0.1


def test_the_mesh_reaches_as_far_as_the_gaussians(made):
    mesh = trimesh.load(made / "chair.glb", force="mesh")
    splats = read_ply(made / "chair.ply").position.numpy()
    y_up = numpy.stack([splats[:, 0], splats[:, 2], -splats[:, 1]], axis=1)
    assert numpy.abs(y_up.min(0) - mesh.bounds[0]).max() < 0.08


def test_the_same_seed_gives_the_same_files(made, tmp_path, capsys):
    options = ["--output", str(tmp_path), "--seed", "3", "--formats", "gaussian", "--json", *CPU, made.name]
    assert main([str(PICTURE), *options]) == 0
    assert json.loads(capsys.readouterr().out)["made"] == 1
    assert (tmp_path / "chair.ply").read_bytes() == (made / "chair.ply").read_bytes()


def test_an_estimate_shows_the_solid_that_comes_of_it():
    """The last step's estimate is the sample itself, but for the noise that no step takes away."""
    networks = Networks.open("starter", torch.device("cpu"), torch.float32, "torch")
    folder = networks.folder
    settings = Settings(folder.structure_sampler.merged({"steps": 2}), folder.slat_sampler, ("mesh",))
    guide = [cut_out_as("auto", open_picture(PICTURE))]
    for event in generate(networks, guide, settings, torch.Generator().manual_seed(3)):
        if isinstance(event, Output) and event.kind == "voxels":
            made = set(map(tuple, event.value.coords.tolist()))
            break
        if isinstance(event, Step) and event.stage == "sparse_structure":
            last = event
    shown, raw = (
        set(map(tuple, estimated_voxels(networks, last.x0, solid).coords.tolist()))
        for solid in (last.solid, None)
    )
    assert len(shown & made) > 0.999 * len(shown | made)
    assert len(raw & made) < 0.97 * len(raw | made)
