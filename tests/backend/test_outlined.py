"""What is decoded keeps to its picture's outline: narrow gaps stay open, thin ends stay, the depth stays."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.background import remove_background
from backend.geometry.portrait import decoded_asset
from backend.geometry.render import Picture
from backend.image import cut_out, open_picture
from backend.layers.sparse import subdivide_coords
from backend.lifting.image_encoder import LiftingEncoderConfig, outline_of
from backend.lifting.outlined import outlined_distances, outlined_gaussians
from backend.lifting.solid_cubes import corner_distances
from backend.measures.outline import cropped, gaussian_picture, mesh_picture, outline_iou
from backend.representations.flexicubes import extract_mesh
from backend.representations.flexicubes_tables import CORNERS
from backend.representations.gaussians import Gaussians
from backend.trellis.asset import latents_of, read_latents, write_latents
from backend.trellis.decoding import Layer, decode
from backend.trellis.generate import generate
from backend.trellis.networks import Networks
from backend.trellis.stages import Output, Settings

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
CONFIG = LiftingEncoderConfig()
SIZE, SIDE = 128, 128


def fork() -> torch.Tensor:
    """Alpha (S, S) of a fork whose gaps are 4 of 128 pixels wide."""
    alpha = torch.zeros(SIZE, SIZE)
    alpha[70:110, 44:84] = 1
    for left in (44, 56, 68, 80):
        alpha[18:70, left : left + (8 if left < 80 else 4)] = 1
    return alpha


def cubes_of_a_slab() -> tuple[torch.Tensor, torch.Tensor]:
    """Cubes (N, 3) and features (N, 53) of a slab that stands across the view and covers the fork, with round
    edges: what a decoder makes of it that sees no gaps.
    """
    axis = torch.arange(32)
    voxels = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3)
    voxels = voxels[(voxels[:, 1] >= 12) & (voxels[:, 1] < 20)]
    cubes = subdivide_coords(subdivide_coords(voxels.int()))
    corners = (cubes[:, None] + torch.tensor(CORNERS)).float() / SIDE - 0.5
    beyond = corners.abs() - torch.tensor([0.36, 0.09, 0.44])
    features = torch.zeros(len(cubes), 53)
    features[:, :8] = beyond.amax(-1) * 32
    return cubes, features


def given(alpha: torch.Tensor) -> Picture:
    return cropped(Picture(alpha[..., None].repeat(1, 1, 3).numpy(), alpha.numpy()), SIZE)


def drawn(cubes: torch.Tensor, features: torch.Tensor):
    return mesh_picture(decoded_asset(extract_mesh(cubes, features, SIDE)), size=SIZE)


def test_a_mesh_has_the_gaps_that_its_picture_shows_and_its_own_depth():
    cubes, features = cubes_of_a_slab()
    outline = outline_of(CONFIG, fork())
    corners, distance = corner_distances(cubes, features, SIDE)
    cut, shown = outlined_distances(distance, outline)
    changed = torch.cat([cut.flatten()[corners], features[:, 8:]], dim=1)
    before, after = (outline_iou(drawn(cubes, one), given(fork())) for one in (features, changed))
    assert before < 0.75 and after > 0.93
    y = extract_mesh(cubes, changed, SIDE).vertices[:, 1]
    assert y.min() == pytest.approx(-0.09, abs=0.02) and y.max() == pytest.approx(0.09, abs=0.02)
    places = (cubes[:, None] + torch.tensor(CORNERS)).float() / SIDE - 0.5
    deep = (outline.beside_at(places.view(-1, 3), 0.4) < -2.5).view(-1, 8)
    assert deep.any()
    torch.testing.assert_close(changed[:, :8][deep], features[:, :8][deep])
    assert shown.shape == distance.shape == (SIDE + 1,) * 3 and 0 < shown.float().mean() < 0.5


@pytest.mark.parametrize(
    ("shown", "rim", "most"), [(0.3, 0.3, 0.303), (0.316, 0.31, 0.325), (0.29, 0.29, 0.303)]
)
def test_a_ball_is_made_larger_only_where_its_outline_asks_for_it(shown, rim, most):
    """Made thicker whether or not its outline needs it, it would be cut flat all round."""
    camera = outline_of(CONFIG, torch.zeros(SIZE, SIZE)).camera
    half = math.asin(shown / math.sqrt(0.75) * math.sin(math.radians(camera.fov) / 2))
    up = torch.tensor(
        [[0.0, math.sin(math.radians(camera.elevation)), math.cos(math.radians(camera.elevation))]]
    )
    place, depth = camera.project(up * shown)
    radius = float(place[0, 1].abs() * depth / shown) * math.tan(half)  # in the picture
    pixel = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    outline = outline_of(CONFIG, (pixel[:, None].hypot(pixel) < radius).float())
    axis = torch.arange(32)
    voxels = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3)
    voxels = voxels[((voxels - 15.5).float().norm(dim=1) - 0.3 * 32).abs() < 2]
    cubes = subdivide_coords(subdivide_coords(voxels.int()))
    features = torch.zeros(len(cubes), 53)
    corner = (cubes[:, None] + torch.tensor(CORNERS)).float() / SIDE - 0.5
    features[:, :8] = (corner.norm(dim=-1) - 0.3) * 32
    corners, distance = corner_distances(cubes, features, SIDE)
    features[:, :8] = outlined_distances(distance, outline)[0].flatten()[corners]
    vertices = extract_mesh(cubes, features, SIDE).vertices
    radii = vertices.norm(dim=1)
    across = vertices[:, 0].abs() / radii > 0.97
    assert float(radii[across].median()) == pytest.approx(rim, abs=0.004)
    assert float(radii.max()) < most


def test_gaussians_reach_as_far_as_the_picture_shows_and_no_further():
    random = torch.Generator().manual_seed(4)
    outline = outline_of(CONFIG, fork())
    places = torch.rand(20_000, 3, generator=random) * torch.tensor([0.8, 0.02, 0.9]) - torch.tensor(
        [0.4, 0.01, 0.45]
    )
    places = places[outline.beside_at(places, 0.4) < 0.8]  # some beside the object
    count = len(places)
    gaussians = Gaussians(
        places,
        torch.zeros(count, 3),
        torch.full((count, 1), 0.9),
        torch.full((count, 3), 0.009),
        torch.nn.functional.normalize(torch.randn(count, 4, generator=random), dim=1),
    )
    made = outlined_gaussians(gaussians, outline)
    before, after = (
        outline_iou(gaussian_picture(one, size=SIZE), given(fork())) for one in (gaussians, made)
    )
    assert before < 0.75 and after > 0.84
    deep = outline.beside_at(places, 0.4) < -2.5
    assert deep.any() and torch.equal(made.position[deep], places[deep])
    assert torch.equal(made.scale, gaussians.scale)  # narrower ones would leave holes beside


def test_a_picture_that_shows_nothing_else_changes_nothing():
    cubes, features = cubes_of_a_slab()
    everything = outline_of(CONFIG, torch.ones(SIZE, SIZE))
    _, distance = corner_distances(cubes, features, SIDE)
    changed, _ = outlined_distances(distance, everything)
    told = distance.isfinite()
    assert torch.equal(told, changed.isfinite())
    assert ((changed < 0) == (distance < 0))[told].float().mean() > 0.99


def test_a_stored_asset_decodes_to_what_was_made_of_its_picture(tmp_path):
    networks = Networks.open("starter", torch.device("cpu"), torch.float32)
    picture = cut_out(open_picture(PICTURES / "chair.png"), remove_background)
    found = networks.folder
    settings = Settings(found.structure_sampler, found.slat_sampler, ("mesh", "gaussian"))
    events = generate(networks, [picture], settings, torch.Generator().manual_seed(3))
    made = {one.kind: one.value for one in events if isinstance(one, Output)}
    asset = latents_of(made, "starter", found.hash)
    assert asset.outline is not None
    write_latents(tmp_path / "chair.latents.safetensors", asset)
    again = read_latents(tmp_path / "chair.latents.safetensors")
    for kind, names in (("mesh", ("vertices", "faces")), ("gaussian", ("position", "scale", "opacity"))):
        value = decode(networks, kind, again.latent)
        assert all(torch.equal(getattr(value, name), getattr(made[kind], name)) for name in names)
    alpha = np.asarray(picture.getchannel("A"), np.float32) / 255
    mesh = mesh_picture(decoded_asset(made["mesh"]))
    plain = mesh_picture(decoded_asset(decode(networks, "mesh", replace(again.latent, outline=None))))
    shown = Picture(alpha[..., None].repeat(3, -1), alpha)
    assert outline_iou(mesh, cropped(shown)) > max(0.93, outline_iou(plain, cropped(shown)))
    # An edited asset keeps the outlines of its layers apart from that of what is new.
    layers = (Layer(asset.coords, asset.feats, asset.outline), Layer(asset.coords, asset.feats))
    source = torch.zeros(len(asset.coords), 2, dtype=torch.uint8)
    edited = replace(asset, layers=layers, source=source, outline=None)
    write_latents(tmp_path / "edited.latents.safetensors", edited)
    read = read_latents(tmp_path / "edited.latents.safetensors")
    assert read.outline is None and read.layers[1].outline is None
    first = read.layers[0].outline
    assert first is not None and torch.equal(first.alpha, asset.outline.alpha)
    assert (first.camera, first.scale, first.shift, first.cells) == (
        asset.outline.camera,
        asset.outline.scale,
        asset.outline.shift,
        asset.outline.cells,
    )
