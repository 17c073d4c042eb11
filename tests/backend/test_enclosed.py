"""What a surface encloses is inside: solids of a decoder that knows the surface's voxels alone."""

import torch

from backend.layers.sparse import subdivide_coords
from backend.lifting.solid_cubes import (
    corner_distances,
    enclosed_voxels,
    smoothed,
    with_inside,
    with_solid_signs,
)
from backend.measures.soundness import soundness
from backend.representations.flexicubes import extract_mesh
from backend.representations.flexicubes_tables import CORNERS

SIZE = 16  # voxels; the mesh grid has 64 cubes
STEPS = torch.tensor(CORNERS)


def shell(distance) -> tuple[torch.Tensor, torch.Tensor]:
    """The voxels (L, 3) that a surface crosses and rows (L, 64 · 53): distances (…,) of corners (…, 3)."""
    coords = torch.cartesian_prod(*[torch.arange(SIZE)] * 3)
    cubes = subdivide_coords(subdivide_coords(coords))
    values = distance((cubes[:, None] + STEPS) / (4 * SIZE) - 0.5).view(len(coords), 64, 8)
    crossed = (values < 0).flatten(1).any(1) & (values > 0).flatten(1).any(1)
    rows = torch.zeros(len(coords), 64, 53)
    rows[..., :8] = values
    return coords[crossed], rows[crossed].flatten(1)


def ball(points: torch.Tensor) -> torch.Tensor:
    return (points.norm(dim=-1) - 0.4) * SIZE


def mesh_of(coords: torch.Tensor, rows: torch.Tensor):
    coords, rows = with_inside(coords, rows, enclosed_voxels(coords, rows, SIZE))
    cubes = subdivide_coords(subdivide_coords(coords))
    return solid_mesh(cubes, rows.view(len(cubes), -1), smooth=False)


def solid_mesh(cubes: torch.Tensor, features: torch.Tensor, smooth: bool):
    corners, distance = corner_distances(cubes, features, 4 * SIZE)
    signed = with_solid_signs(smoothed(distance) if smooth else distance).flatten()
    return extract_mesh(cubes, torch.cat([signed[corners], features[:, 8:]], dim=1), 4 * SIZE)


def test_a_shell_of_voxels_decodes_to_one_surface_without_another_within():
    coords, rows = shell(ball)
    mesh = mesh_of(coords, rows)
    found = soundness(mesh.vertices.numpy(), mesh.faces.numpy())
    assert (found.parts, found.genus) == (1, 0) and found.seen > 0.99
    bare = extract_mesh(subdivide_coords(subdivide_coords(coords)), rows.view(-1, 53), 4 * SIZE)
    assert soundness(bare.vertices.numpy(), bare.faces.numpy()).parts == 2  # the walls of the shell


def test_crumbs_hollows_and_pinholes_go_and_a_torus_keeps_its_hole():
    def torus(points: torch.Tensor) -> torch.Tensor:
        ring = points[..., :2].norm(dim=-1) - 0.3
        return ((ring**2 + points[..., 2] ** 2).sqrt() - 0.12) * SIZE

    coords, rows = shell(torus)
    values = rows.view(len(coords), 64, 53)
    values[0, :2, :8] = torch.where(values[0, :2, :8] > 0, -0.5, 0.5)
    mesh = mesh_of(coords, rows)
    found = soundness(mesh.vertices.numpy(), mesh.faces.numpy())
    assert (found.parts, found.genus) == (1, 1) and found.seen > 0.97


def test_a_pocket_of_air_between_voxels_is_not_filled():
    coords, rows = shell(lambda points: -ball(points))  # the same voxels, but the solid is round them
    assert not enclosed_voxels(coords, torch.where(rows < 0, 0.5, rows.abs()), SIZE).any()
    assert enclosed_voxels(*shell(ball), SIZE)[8, 8, 8]


def uneven(depth: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Cubes (N, 3) of a ball and features (N, 53); every cube's distances are off by an amount of its own."""
    coords, rows = shell(ball)
    values = rows.view(len(coords), 64, 53).clone()
    error = torch.randn(len(coords), 64, 1, generator=torch.Generator().manual_seed(1))
    values[..., :8] += depth * error
    coords, rows = with_inside(coords, values.flatten(1), enclosed_voxels(coords, rows, SIZE))
    cubes = subdivide_coords(subdivide_coords(coords))
    return cubes, rows.view(len(cubes), -1)


def test_dents_of_a_cube_are_smoothed_and_the_ball_keeps_its_size():
    def off(smooth: bool) -> torch.Tensor:
        return (solid_mesh(cubes, features, smooth).vertices.norm(dim=1) - 0.4) * 4 * SIZE  # in cubes

    cubes, features = uneven(0.15)
    before, after = off(smooth=False), off(smooth=True)
    assert after.std() < 0.5 * before.std() and after.mean().abs() < 0.05 + before.mean().abs()


def test_a_plate_thinner_than_a_voxel_is_not_smoothed_away():
    def plate(points: torch.Tensor) -> torch.Tensor:
        return (
            torch.stack([points[..., 0].abs() - 0.3, points[..., 1].abs() - 0.3, thickness(points)]).amax(0)
            * SIZE
        )

    def thickness(points: torch.Tensor) -> torch.Tensor:
        return points[..., 2].abs() - 1.2 / (4 * SIZE)  # 2.4 cubes thick

    coords, rows = shell(plate)
    cubes = subdivide_coords(subdivide_coords(coords))
    mesh = solid_mesh(cubes, rows.view(len(cubes), -1), smooth=True)
    found = soundness(mesh.vertices.numpy(), mesh.faces.numpy())
    assert (found.parts, found.genus) == (1, 0)
    assert (mesh.vertices[:, :2].abs().amax(0) > 0.28).all()
