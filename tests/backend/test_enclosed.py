"""What a surface encloses is inside: solids of a decoder that knows the surface's voxels alone."""

import torch

from backend.layers.sparse import subdivide_coords
from backend.measures.soundness import soundness
from backend.representations.enclosed import enclosed_voxels, with_inside, with_solid_signs
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
    features = with_solid_signs(cubes, rows.view(len(cubes), -1), 4 * SIZE)
    return extract_mesh(cubes, features, 4 * SIZE)


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
