"""Mesh extraction: what holds for any field, a few meshes worked out by hand, and the reference's meshes."""

import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import backend
from backend.checkpoints.weights import read_model
from backend.representations import flexicubes
from backend.representations.flexicubes import cubes_of, extract_mesh, training_mesh
from backend.representations.flexicubes_tables import CORNERS, EDGES, case_tables, dual_vertices
from backend.representations.mesh import Mesh, face_normals

GOLDENS = Path(backend.__file__).parent / "goldens"


def block(low: int, high: int) -> torch.Tensor:
    axis = torch.arange(low, high)
    return torch.cartesian_prod(axis, axis, axis)


def features_of(sdf: torch.Tensor, resolution: int, channels: int = 53) -> torch.Tensor:
    """Channels that give the corners of cubes these distances (N, 8), and nothing else."""
    rest = sdf.new_zeros(len(sdf), channels - 8)
    return torch.cat([sdf + 1 / resolution, rest], dim=1)


def sphere(resolution: int = 32, radius: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """The cubes inside and near the surface, with the true distances, random weights and random colours."""
    cubes = block(0, resolution)
    corners = (cubes[:, None] + torch.tensor(CORNERS)) / resolution - 0.5
    sdf = corners.norm(dim=-1) - radius
    near = (sdf < 2 / resolution).any(1)
    features = features_of(sdf[near], resolution, 101)
    features[:, 8:] = torch.randn(features[:, 8:].shape, generator=torch.Generator().manual_seed(0)) * 0.3
    return cubes[near], features


def noise(low: int, high: int, seed: int, channels: int = 53) -> tuple[torch.Tensor, torch.Tensor]:
    """A block of cubes whose corners are inside or outside by chance."""
    cubes, g = block(low, high), torch.Generator().manual_seed(seed)
    return cubes, torch.randn(len(cubes), channels, generator=g)


def sides(faces: torch.Tensor) -> Counter:
    """How often each directed side of a triangle occurs."""
    return Counter(
        tuple(side) for face in faces.tolist() for side in zip(face, face[1:] + face[:1], strict=True)
    )


def is_closed(faces: torch.Tensor) -> bool:
    found = sides(faces)
    return len(found) > 0 and all(found[b, a] == count for (a, b), count in found.items())


def is_manifold(faces: torch.Tensor) -> bool:
    return is_closed(faces) and max(sides(faces).values()) == 1


def euler_number(mesh: Mesh) -> int:
    return len(mesh.vertices) - len(sides(mesh.faces)) // 2 + len(mesh.faces)


def volume(mesh: Mesh) -> float:
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6)


def test_a_sphere_is_closed_smooth_and_faces_outwards():
    cubes, features = sphere()
    mesh = extract_mesh(cubes, features, 32)
    assert is_manifold(mesh.faces) and euler_number(mesh) == 2
    assert ((mesh.vertices.norm(dim=1) - 0.3).abs() < 1 / 32).all()
    centres = mesh.vertices[mesh.faces].mean(1)
    assert ((face_normals(mesh) * centres).sum(1) > 0).all()
    assert volume(mesh) == pytest.approx(4 / 3 * torch.pi * 0.3**3, rel=0.05)
    assert mesh.colors.shape == mesh.normals.shape == mesh.vertices.shape
    assert ((mesh.colors > 0) & (mesh.colors < 1)).all()


@pytest.mark.parametrize("seed", range(4))
def test_random_fields_give_closed_manifolds(seed):
    """Also where ambiguous cubes meet, and where the surface leaves the active cubes."""
    mesh = extract_mesh(*noise(2, 12, seed), 16)
    assert is_manifold(mesh.faces)


def test_without_the_inversion_of_ambiguous_cubes_they_are_none(monkeypatch):
    """Shows that the fields above hold the cases in question."""

    def plain_cases(surface, resolution):
        return (surface.inside * (1 << torch.arange(8))).sum(1)

    monkeypatch.setattr(flexicubes, "cube_cases", plain_cases)
    meshes = [extract_mesh(*noise(2, 12, seed), 16) for seed in range(4)]
    assert all(is_closed(mesh.faces) for mesh in meshes)
    assert not any(is_manifold(mesh.faces) for mesh in meshes)


def test_one_inside_corner_is_wrapped_by_cubes_that_are_not_active():
    """Seven of the eight cubes around it have only default values."""
    sdf = torch.ones(1, 8)
    sdf[0, 7] = -1
    mesh = extract_mesh(torch.tensor([[3, 4, 5]]), features_of(sdf, 16), 16)
    inside = torch.tensor([4, 5, 6]) / 16 - 0.5
    # Three crossings half an edge away from the corner, along the three axes; their mean.
    expected = inside + (torch.tensor(CORNERS) - 0.5).sign() / 16 / 6
    found = mesh.vertices[torch.cdist(expected, mesh.vertices).argmin(1)]
    torch.testing.assert_close(found, expected)
    assert len(mesh.vertices) == 8 and len(mesh.faces) == 12
    assert is_manifold(mesh.faces) and euler_number(mesh) == 2 and volume(mesh) > 0


def test_at_the_border_of_the_grid_the_surface_is_open_on_request():
    sdf = torch.ones(1, 8)
    sdf[0, 7] = -1
    mesh = extract_mesh(torch.tensor([[7, 3, 3]]), features_of(sdf, 8), 8, close_border=False)
    # Of the eight cubes around the corner four are in the grid, and one edge has all its four cubes.
    assert len(mesh.vertices) == 4 and len(mesh.faces) == 2
    assert (mesh.vertices[:, 0] <= 0.5).all()


def cut_solid(kind: str, axes: str, near_only: bool) -> tuple[torch.Tensor, torch.Tensor, float]:
    """A solid whose middle lies on the border of the grid along `axes`, with its volume inside the grid."""
    resolution = 24
    cubes = block(0, resolution)
    centre = torch.tensor([0.5 * {"-": -1, "0": 0, "+": 1}[side] for side in axes])
    p = (cubes[:, None] + torch.tensor(CORNERS)) / resolution - 0.5 - centre
    if kind == "sphere":
        sdf, whole = p.norm(dim=-1) - 0.4, 4 / 3 * torch.pi * 0.4**3
    elif kind == "box":
        sdf, whole = (p.abs() - 0.35).amax(-1), 0.7**3
    else:
        ring = p[..., :2].norm(dim=-1) - 0.3
        sdf, whole = (ring.square() + p[..., 2].square()).sqrt() - 0.13, 2 * torch.pi**2 * 0.3 * 0.13**2
    near = (sdf < (0 if near_only else 2 / resolution)).any(1)
    features = features_of(sdf[near], resolution, 101)
    return cubes[near], features, whole / 2 ** sum(side != "0" for side in axes)


@pytest.mark.parametrize("near_only", [False, True])
@pytest.mark.parametrize("axes", ["00+", "-00", "0-+", "+-0", "+++", "-+-"])
@pytest.mark.parametrize("kind", ["sphere", "box", "torus"])
def test_solids_cut_by_the_border_get_caps(kind, axes, near_only):
    cubes, features, expected = cut_solid(kind, axes, near_only)
    mesh = extract_mesh(cubes, features, 24)
    assert is_manifold(mesh.faces)
    assert volume(mesh) == pytest.approx(expected, rel=0.08)
    assert mesh.vertices.abs().max() <= 0.5
    for axis, side in enumerate(axes):
        if side != "0":
            sign = float(side + "1")
            on_border = mesh.vertices[:, axis] * sign == 0.5
            assert on_border.any()
            assert (((mesh.normals[on_border, axis] * 2 - 1) * sign) > 0.57).all()
    torch.testing.assert_close(mesh.colors, torch.full_like(mesh.colors, 0.5))


@pytest.mark.parametrize("seed", range(4))
def test_random_fields_that_fill_the_grid_are_closed(seed):
    """Whole or sparse, the part within the grid is that of the open mesh."""
    cubes, features = noise(0, 8, seed, channels=101)
    if seed % 2:
        kept = torch.rand(len(cubes), generator=torch.Generator().manual_seed(seed)) < 0.5
        cubes, features = cubes[kept], features[kept]
    mesh, opened = extract_mesh(cubes, features, 8), extract_mesh(cubes, features, 8, close_border=False)
    assert is_manifold(mesh.faces) and volume(mesh) > 0
    assert not is_closed(opened.faces)

    def triangles(mesh: Mesh) -> set[tuple[float, ...]]:
        values = torch.cat([mesh.vertices, mesh.colors, mesh.normals], dim=1)[mesh.faces]
        return {tuple(row) for row in values.flatten(1).tolist()}

    assert triangles(opened) <= triangles(mesh)


def test_a_cap_has_the_colours_of_the_solid_beneath():
    cubes = block(0, 4)
    features = features_of(torch.full((64, 8), -1.0), 4, 101)
    color = torch.tensor([2.0, 0.0, -2.0])
    features[:, 53:].unflatten(1, (8, 6))[..., :3] = color
    mesh = extract_mesh(cubes, features, 4)
    assert is_manifold(mesh.faces) and volume(mesh) > 0.9
    torch.testing.assert_close(mesh.colors, torch.sigmoid(color).expand_as(mesh.colors))


def test_an_untrained_decoder_shows_the_shell_of_its_voxels():
    mesh = extract_mesh(block(3, 5), torch.zeros(8, 53), 8)
    assert is_manifold(mesh.faces) and euler_number(mesh) == 2
    # Crossings lie close to the active corners: distance -1/8 there, 1 next to them.
    assert mesh.vertices.min() == pytest.approx(3 / 8 - 0.5 - 1 / 9 / 8, abs=0.05)


def test_weights_pull_vertices_and_corners_move():
    sdf = torch.ones(1, 8)
    sdf[0, 7] = -1
    features = features_of(sdf, 16)
    plain = extract_mesh(torch.tensor([[3, 4, 5]]), features, 16)
    moved = features.clone()
    moved[0, 8 + 7 * 3] = 50.0  # the inside corner's x offset, saturated
    shifted = extract_mesh(torch.tensor([[3, 4, 5]]), moved, 16)
    # Each crossing is half way between the moved corner and its neighbour: half of half a cube.
    torch.testing.assert_close(shifted.vertices - plain.vertices, torch.tensor([[1 / 64, 0, 0]]).expand(8, 3))
    weighted = features.clone()
    weighted[0, 32 + 6] = 50.0  # β of the edge along x from corner 6 to corner 7
    pulled = extract_mesh(torch.tensor([[3, 4, 5]]), weighted, 16)
    first = plain.vertices.sum(1).argmin()  # the one in the active cube
    corner = torch.tensor([4, 5, 6]) / 16 - 0.5
    crossings = corner - torch.eye(3) / 32
    expected = (crossings * torch.tensor([[1.99], [1.0], [1.0]])).sum(0) / 3.99
    torch.testing.assert_close(pulled.vertices[first], expected)


def test_no_surface_gives_an_empty_mesh():
    outside = extract_mesh(block(1, 4), features_of(torch.ones(27, 8), 8, 101), 8)
    nothing = extract_mesh(torch.zeros(0, 3, dtype=torch.int32), torch.zeros(0, 101), 8)
    for mesh in (outside, nothing):
        assert mesh.vertices.shape == mesh.faces.shape == mesh.colors.shape == (0, 3)
        assert mesh.faces.dtype == torch.int64
    trained = training_mesh(block(1, 4), features_of(torch.ones(27, 8), 8, 101), 8)
    assert len(trained.mesh.faces) == 0 and trained.reg_loss.isfinite()


@pytest.mark.parametrize("close_border", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_keys_name_the_vertices_by_the_cubes_they_lie_in(seed, close_border):
    """Cubes of four dual vertices too, and caps beyond the grid."""
    cubes, features = noise(0, 8, seed)
    features[:, 8:32] = 0  # corners that stay in place, so that a vertex lies within its cube
    mesh = extract_mesh(cubes, features, 8, close_border)
    assert mesh.keys.dtype == torch.int64 and len(mesh.keys.unique()) == len(mesh.vertices)
    named = cubes_of(mesh.keys, 8)
    lies_in = (mesh.vertices + 0.5) * 8
    on_cap = ((named < 0) | (named > 7)).any(1)
    assert on_cap.any() == close_border
    clamped = named.clamp(0, 7)
    assert ((lies_in >= clamped - 1e-5) & (lies_in <= clamped + 1 + 1e-5)).all()
    assert (mesh.keys % 4).max() >= 2
    opened = extract_mesh(cubes, features, 8, close_border=False)
    assert set(opened.keys.tolist()) <= set(mesh.keys.tolist())


def stopping_at(number: int) -> tuple[Callable[[], None], Iterator[int]]:
    """A check that raises when it is called for the `number`-th time from 0, and the count of its calls."""
    calls = itertools.count()

    def check() -> None:
        if next(calls) == number:
            raise InterruptedError

    return check, calls


@pytest.mark.parametrize("close_border", [False, True])
def test_every_check_can_stop_the_extraction(close_border):
    cubes, features = noise(0, 6, 4, channels=101)
    whole = extract_mesh(cubes, features, 8, close_border)
    given, calls = features.clone(), itertools.count()
    extract_mesh(cubes, features, 8, close_border, check=lambda: next(calls))
    count = next(calls)
    assert count > 20
    for number in range(count):
        check, calls = stopping_at(number)
        with pytest.raises(InterruptedError):
            extract_mesh(cubes, features, 8, close_border, check=check)
        assert next(calls) == number + 1
    assert torch.equal(features, given)
    again = extract_mesh(cubes, features, 8, close_border)
    assert torch.equal(again.vertices, whole.vertices) and torch.equal(again.faces, whole.faces)


def test_the_order_of_the_cubes_does_not_matter():
    cubes, features = noise(1, 9, 7, channels=101)
    order = torch.randperm(len(cubes), generator=torch.Generator().manual_seed(1))
    mesh, shuffled = extract_mesh(cubes, features, 16), extract_mesh(cubes[order], features[order], 16)
    assert torch.equal(mesh.faces, shuffled.faces)
    torch.testing.assert_close(mesh.vertices, shuffled.vertices, atol=1e-6, rtol=0)
    again = extract_mesh(cubes, features, 16)
    assert torch.equal(mesh.vertices, again.vertices) and torch.equal(mesh.colors, again.colors)


def test_shifting_the_cubes_shifts_the_mesh():
    cubes, features = noise(2, 8, 3)
    mesh, shifted = extract_mesh(cubes, features, 32), extract_mesh(cubes + 20, features, 32)
    assert torch.equal(mesh.faces, shifted.faces)
    torch.testing.assert_close(shifted.vertices - 20 / 32, mesh.vertices, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised(dtype):
    cubes, features = sphere(16)
    mesh = extract_mesh(cubes, features.to(dtype), 16)
    assert mesh.vertices.dtype == torch.float32 and is_manifold(mesh.faces)


def test_every_crossing_edge_belongs_to_one_dual_vertex():
    for case in range(256):
        crossing = sorted(e for e, (a, b) in enumerate(EDGES) if (case >> a ^ case >> b) & 1)
        groups = dual_vertices(case)
        assert sorted(edge for group in groups for edge in group) == crossing
        assert all(3 <= len(group) <= 7 and list(group) == sorted(group) for group in groups)


def test_the_cases_count_as_published():
    tables = case_tables(torch.device("cpu"))
    assert torch.bincount(tables.counts).tolist() == [2, 162, 82, 8, 2]
    ambiguous = torch.nonzero(tables.ambiguous_face >= 0)[:, 0].tolist()
    assert Counter(case.bit_count() for case in ambiguous) == {5: 24, 6: 12}
    # Turned inside out, such a case has the same crossings in more than one loop.
    assert all(tables.counts[255 - case] == 2 for case in ambiguous)


def test_training_fans_every_quad_around_a_centre():
    cubes, features = noise(2, 6, 5, channels=101)
    mesh, trained = extract_mesh(cubes, features, 16), training_mesh(cubes, features, 16)
    quads = len(mesh.faces) // 2
    assert len(trained.mesh.faces) == 4 * quads
    assert torch.equal(trained.mesh.vertices[:-quads], mesh.vertices)
    assert is_closed(trained.mesh.faces)
    assert len(trained.tsdf_v) == len(trained.tsdf_s) == 5**3


def test_training_is_differentiable():
    cubes, features = noise(2, 4, 2, channels=101)
    features = features.double().requires_grad_()
    weights = torch.rand(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def losses(features):
        trained = training_mesh(cubes, features, 8)
        mesh = trained.mesh
        shape = (mesh.vertices**2 @ weights).sum() + (mesh.colors @ weights).sum() + mesh.normals.sum()
        return shape, trained.reg_loss, (trained.tsdf_v**2).sum() + (trained.tsdf_s**2).sum()

    assert torch.autograd.gradcheck(losses, features, eps=1e-7, atol=1e-4, fast_mode=True)


def test_the_meshes_of_the_reference_decoder():
    folder = GOLDENS / "slat_dec_mesh"
    tensors, decoder = load_file(folder / "io.safetensors"), read_model(folder / "slat_dec_mesh")
    for item in (0, 1):
        rows = tensors["in/coords"][:, 0] == item
        structure = decoder.structure(tensors["in/coords"][rows][:, 1:])
        with torch.no_grad():
            cubes, features = decoder(tensors["in/feats"][rows], structure)
        mesh = extract_mesh(cubes, features, 64, close_border=False)
        assert torch.equal(mesh.faces.int(), tensors[f"out/{item}/faces"])
        attributes = torch.cat([mesh.vertices, mesh.colors, mesh.normals], dim=1)
        expected = torch.cat([tensors[f"out/{item}/vertices"], tensors[f"out/{item}/vertex_attrs"]], dim=1)
        torch.testing.assert_close(attributes, expected, atol=2e-5, rtol=0)


@pytest.mark.skipif(
    "TRELLIS_GOLDENS" not in os.environ, reason="set TRELLIS_GOLDENS to the reference's outputs"
)
def test_the_meshes_of_the_reference_extraction():
    folder = Path(os.environ["TRELLIS_GOLDENS"]) / "flexicubes"
    tensors, sidecar = load_file(folder / "io.safetensors"), json.loads((folder / "io.json").read_text())
    for name, case in sidecar["cases"].items():
        cubes, features = tensors[f"{name}/coords"][:, 1:], tensors[f"{name}/feats"]
        if case["training"]:
            mesh, reg_loss, tsdf_v, tsdf_s = training_mesh(cubes, features, case["res"])
            assert float(reg_loss) == pytest.approx(case["reg_loss"], abs=1e-5)
            torch.testing.assert_close(tsdf_v, tensors[f"{name}/tsdf_v"], atol=1e-5, rtol=0)
            torch.testing.assert_close(tsdf_s, tensors[f"{name}/tsdf_s"], atol=1e-5, rtol=0)
        else:
            mesh = extract_mesh(cubes, features, case["res"], close_border=False)
        assert torch.equal(mesh.faces.int(), tensors[f"{name}/faces"])
        torch.testing.assert_close(mesh.vertices, tensors[f"{name}/vertices"], atol=1e-5, rtol=0)
