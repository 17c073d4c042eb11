"""Surface mesh of signed distances on sparse cubes (FlexiCubes, Shen et al. 2023, section 4).

In: active cubes and, for each, 8 corner distances, 8 corner offsets, 21 weights and, if there is colour,
8 × 6 corner attributes. Out: a Mesh in the unit cube, closed along its border
on request. It follows the mesh decoder of the paper's section 3.2.
Dims: N active cubes · S surface cubes · K corners · D dual vertices · Q quads.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from backend.representations.cube_grid import (
    Check,
    CornerGrid,
    beyond,
    corner_grid,
    corner_mean,
    corner_positions,
    corner_steps,
    find,
    linear,
    take,
    unchecked,
    unlinear,
)
from backend.representations.flexicubes_tables import EDGES, MOST_EDGES, MOST_VERTICES, case_tables
from backend.representations.mesh import Mesh
from backend.representations.surface_cubes import CubeFeatures, SurfaceCubes, find_surface, split_features


@dataclass(frozen=True)
class _Axis:
    """Edges along one axis, seen from the cube whose first corner they start at."""

    end: int  # that cube's corner at the other end
    stored_first: int  # the corner that comes first in EDGES
    rank: int  # among the edges with the same stored first corner, by the second one
    around: tuple[
        tuple[int, tuple[int, int, int]], ...
    ]  # the edge's number in the four cubes, and the way there


_AXES = (
    _Axis(1, 0, 2, ((6, (0, -1, -1)), (4, (0, -1, 0)), (2, (0, 0, -1)), (0, (0, 0, 0)))),
    _Axis(2, 2, 0, ((10, (-1, 0, -1)), (9, (-1, 0, 0)), (11, (0, 0, -1)), (8, (0, 0, 0)))),
    _Axis(4, 0, 1, ((5, (-1, -1, 0)), (1, (-1, 0, 0)), (7, (0, -1, 0)), (3, (0, 0, 0)))),
)


@dataclass(frozen=True)
class _DualVertices:
    points: torch.Tensor  # (D, 3) or (D, 9)
    cubes: torch.Tensor  # (D,) the surface cube of each
    local: torch.Tensor  # (D,) its number in that cube
    first: torch.Tensor  # (S,) a cube's first dual vertex
    crossings: list[tuple[torch.Tensor, torch.Tensor]]  # for training: dual vertices (E,), crossings (E, 3)


class TrainingMesh(NamedTuple):
    """A mesh with four triangles a quad, and what the losses of the mesh decoder need."""

    mesh: Mesh
    reg_loss: torch.Tensor  # ()
    tsdf_v: torch.Tensor  # (K, 3) moved positions of the active cubes' corners
    tsdf_s: torch.Tensor  # (K,) their signed distances


@torch.no_grad()
def extract_mesh(
    coords: torch.Tensor,
    features: torch.Tensor,
    resolution: int,
    close_border: bool = True,
    check: Check = unchecked,
) -> Mesh:
    """Mesh of distinct active cubes `coords` (N, 3) with `features` (N, 53 or 101) in `resolution`³ cubes.

    What no active cube touches counts as outside. Without a surface the mesh is empty. `close_border` caps a
    solid where it reaches the border of the grid; the reference leaves the surface open there. `check` is
    called every few tenths of a second and may raise to stop. Vertices get keys
    that `cubes_of` reads.
    """
    surface, _, grid, _ = _surface(coords, features, resolution, int(close_border), check)
    check()
    cases = cube_cases(surface, grid.resolution)
    duals = _dual_vertices(surface, cases, training=False, check=check)
    loops = _quads(surface, cases, duals.first, grid.resolution, check)
    check()
    faces = _two_triangles(loops, take(_gamma(surface), duals.cubes))
    if close_border and duals.points.shape[1] == 9:
        _face_caps_out(duals, surface, grid)
    return _mesh(duals.points, faces, _vertex_keys(duals, surface, grid))


def training_mesh(coords: torch.Tensor, features: torch.Tensor, resolution: int) -> TrainingMesh:
    """As `extract_mesh` but differentiable: quads get a centre vertex, and the regulariser comes along.

    reg_loss = spread of the corner values + 0.5 · L_dev (FlexiCubes, equation 8) + 0.2 · mean |weights|.
    """
    surface, split, grid, sdf = _surface(coords, features, resolution)
    cases = cube_cases(surface, resolution)
    duals = _dual_vertices(surface, cases, training=True)
    loops = _quads(surface, cases, duals.first, resolution)
    points, faces = _fans(loops, duals.points, _gamma(surface)[duals.cubes])

    means = corner_mean(split.attributes, grid.index, len(grid.keys))
    spread = (torch.cat(split.attributes, dim=-1) - means[grid.index]).square().mean()
    reg_loss = spread + 0.2 * split.weights[:, :20].abs().mean()
    if len(duals.points):
        reg_loss = reg_loss + 0.5 * _deviations(duals).mean()
    positions = corner_positions(grid, grid.keys, means[:, 1:4])
    return TrainingMesh(_mesh(points, faces), reg_loss, positions, sdf)


def _surface(
    coords: torch.Tensor, features: torch.Tensor, resolution: int, border: int = 0, check: Check = unchecked
) -> tuple[SurfaceCubes, CubeFeatures, CornerGrid, torch.Tensor]:
    """The surface, and what it was found from: named channels, the grid and its corners' distances."""
    split = split_features(features, resolution)
    grid = corner_grid(coords, resolution, border, check)
    sdf = corner_mean([split.sdf], grid.index, len(grid.keys), check)[:, 0]
    check()
    return find_surface(grid, sdf, split, check), split, grid, sdf


def cube_cases(surface: SurfaceCubes, resolution: int) -> torch.Tensor:
    """Case (S,) of every surface cube, the ambiguous ones settled (Dual Marching Cubes, cases C16 and C19).

    Two cubes that share their only ambiguous face would join there what each keeps apart; both are inverted.
    """
    device = surface.keys.device
    tables = case_tables(device)
    cases = (surface.inside * (1 << torch.arange(8, device=device))).sum(1)
    face = tables.ambiguous_face[cases]
    rows = torch.nonzero(face >= 0)[:, 0]
    neighbours = unlinear(surface.keys[rows], resolution) + tables.face_steps[face[rows]]
    in_grid = ((neighbours >= 0) & (neighbours < resolution)).all(1)
    found = find(surface.keys, linear(neighbours, resolution))
    invert = in_grid & (found >= 0) & (face[found.clamp_min(0)] >= 0)
    return cases.index_copy(0, rows, torch.where(invert, 255 - cases[rows], cases[rows]))


def _gamma(surface: SurfaceCubes) -> torch.Tensor:
    return 0.99 * torch.sigmoid(surface.weights[:, 20]) + 0.005


def _dual_vertices(
    surface: SurfaceCubes, cases: torch.Tensor, training: bool, check: Check = unchecked
) -> _DualVertices:
    """One point for each loop of crossing edges in a cube: the mean of the crossings, weighted by β.

    The numbering is the reference's: cubes with one dual vertex first, then those with two, three and four.
    """
    tables = case_tables(cases.device)
    counts = take(tables.counts, cases)
    order = torch.sort(counts, stable=True)[1]
    starts = torch.cumsum(counts[order], 0) - counts[order]
    first = torch.empty_like(starts).index_copy_(0, order, starts)
    cubes = torch.repeat_interleave(order, take(counts, order))
    local = torch.arange(len(cubes), device=cubes.device) - take(first, cubes)
    edges = take(tables.edges.flatten(0, 1), take(cases, cubes) * MOST_VERTICES + local)

    beta = 1 + 0.99 * torch.tanh(surface.weights[:, :12])
    alpha = 1 + 0.99 * torch.tanh(surface.weights[:, 12:20])
    points = surface.points.new_zeros(len(cubes), surface.points.shape[1])
    total = points.new_zeros(len(cubes))
    plain: list[tuple[torch.Tensor, torch.Tensor]] = []
    for slot in range(MOST_EDGES):
        check()
        rows = torch.nonzero(edges[:, slot] >= 0)[:, 0]
        cube, edge = take(cubes, rows), take(edges[:, slot], rows)
        weight = take(beta.flatten(), cube * len(EDGES) + edge)
        points.index_add_(0, rows, _crossings(surface, alpha, cube, edge) * weight[:, None])
        total.index_add_(0, rows, weight)
        if training:
            plain.append((rows, _crossings(surface, torch.ones_like(alpha), cube, edge)[:, :3]))
    return _DualVertices(points / total[:, None], cubes, local, first, plain)


def _face_caps_out(duals: _DualVertices, surface: SurfaceCubes, grid: CornerGrid) -> None:
    """Lets the normals in the cubes beyond the unit cube point out of it, in place."""
    out = beyond(unlinear(surface.keys, grid.resolution), grid.resolution, grid.border)
    on_cap = torch.nonzero(take(out.any(1), duals.cubes))[:, 0]
    normals = torch.nn.functional.normalize(out[duals.cubes[on_cap]].to(duals.points.dtype), dim=1)
    duals.points[on_cap, 6:] = (normals + 1) / 2


def _vertex_keys(duals: _DualVertices, surface: SurfaceCubes, grid: CornerGrid) -> torch.Tensor:
    """Keys (D,): four times the cube's number in a grid with a border of one cube, plus its own in it."""
    cubes = unlinear(surface.keys, grid.resolution) + 1 - grid.border
    numbers = linear(cubes, grid.resolution + 2 * (1 - grid.border))
    return MOST_VERTICES * numbers[duals.cubes] + duals.local


def cubes_of(keys: torch.Tensor, resolution: int) -> torch.Tensor:
    """Cubes (V, 3) that vertices of a mesh in `resolution`³ cubes come from; of caps -1 or `resolution`."""
    return unlinear(keys // MOST_VERTICES, resolution + 2) - 1


def _crossings(
    surface: SurfaceCubes, alpha: torch.Tensor, cube: torch.Tensor, edge: torch.Tensor
) -> torch.Tensor:
    """Points (E, ·) where the surface cuts an edge of a cube, the distances scaled by the cubes' α (S, 8)."""
    first, second = (8 * cube[:, None] + take(torch.tensor(EDGES, device=edge.device), edge)).unbind(1)
    a, b = take(surface.corners.flatten(), first), take(surface.corners.flatten(), second)
    scaled_a = (take(surface.sdf, a) * take(alpha.flatten(), first))[:, None]
    scaled_b = (take(surface.sdf, b) * take(alpha.flatten(), second))[:, None]
    return (take(surface.points, a) * scaled_b - take(surface.points, b) * scaled_a) / (scaled_b - scaled_a)


def _deviations(duals: _DualVertices) -> torch.Tensor:
    """L_dev (E,): how far each dual vertex's distances to its crossings, without α, are from their mean."""
    rows = torch.cat([rows for rows, _ in duals.crossings])
    crossings = torch.cat([crossings for _, crossings in duals.crossings])
    distances = (crossings - duals.points[rows, :3]).norm(dim=1)
    counts = torch.bincount(rows, minlength=len(duals.points))
    means = distances.new_zeros(len(duals.points)).index_add(0, rows, distances) / counts
    return (distances - means[rows]).abs()


def _quads(
    surface: SurfaceCubes,
    cases: torch.Tensor,
    first: torch.Tensor,
    resolution: int,
    check: Check = unchecked,
) -> torch.Tensor:
    """Loops (Q, 4) of dual vertices, one for every crossing edge inside the grid, counter-clockwise outside.

    Ordered as in the reference: edges that start outside first, each group by the corners of the edges.
    """
    coords, inside = unlinear(surface.keys, resolution), surface.inside
    corner_keys = linear(coords, resolution + 1)[:, None] + corner_steps(resolution + 1, coords.device)
    vertex_of_edge = case_tables(cases.device).vertex_of_edge
    quads, outward, ranks = [], [], []
    for axis in _AXES:
        check()
        steps = torch.tensor([step for _, step in axis.around], device=coords.device)
        # An edge on the outer border of the grid has fewer than four cubes and gets no quad.
        crosses = (inside[:, 0] != inside[:, axis.end]) & (coords + steps[0] >= 0).all(1)
        rows = torch.nonzero(crosses)[:, 0]
        # All four cubes have corners on both sides, so all of them are surface cubes.
        # The last one is the cube itself.
        around = take(surface.keys, rows)[:, None] + linear(steps[:3], resolution)
        cubes = torch.cat([torch.searchsorted(surface.keys, around), rows[:, None]], dim=1)
        numbers = torch.tensor([edge for edge, _ in axis.around], device=coords.device)
        vertices = take(vertex_of_edge.flatten(), take(cases, cubes) * len(EDGES) + numbers)
        quads.append(take(first, cubes) + vertices)
        outward.append(take(surface.sdf, take(surface.corners[:, axis.stored_first], rows)) > 0)
        ranks.append(take(corner_keys[:, axis.stored_first], rows) * 3 + axis.rank)
    quad, starts_outside, rank = torch.cat(quads), torch.cat(outward), torch.cat(ranks)
    loops = torch.where(starts_outside[:, None], quad[:, [0, 1, 3, 2]], quad[:, [2, 3, 1, 0]])
    return loops[torch.argsort(rank + ~starts_outside * (3 * (resolution + 1) ** 3))]


def _diagonals(loops: torch.Tensor, gamma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Products (Q,) of γ over the two diagonals of each quad."""
    weights = gamma[loops]
    return weights[:, 0] * weights[:, 2], weights[:, 1] * weights[:, 3]


def _two_triangles(loops: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    """Faces (2·Q, 3), every quad cut along the diagonal with the larger γ."""
    even, odd = _diagonals(loops, gamma)
    split = torch.where((even > odd)[:, None], loops[:, [0, 1, 2, 0, 2, 3]], loops[:, [0, 1, 3, 3, 1, 2]])
    return split.reshape(-1, 3)


def _fans(
    loops: torch.Tensor, points: torch.Tensor, gamma: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (D + Q, ·) and faces (4·Q, 3) around quad centres that lean to the diagonal with more γ."""
    even, odd = (product[:, None] for product in _diagonals(loops, gamma))
    a, b, c, d = points[loops].unbind(1)
    centres = ((a + c) / 2 * even + (b + d) / 2 * odd) / (even + odd + 1e-8)
    centre = torch.arange(len(points), len(points) + len(loops), device=loops.device)[:, None].expand(-1, 4)
    faces = torch.stack([loops, loops.roll(-1, dims=1), centre], dim=-1)
    return torch.cat([points, centres]), faces.reshape(-1, 3)


def _mesh(points: torch.Tensor, faces: torch.Tensor, keys: torch.Tensor | None = None) -> Mesh:
    colored = points.shape[1] == 9
    return Mesh(
        vertices=points[:, :3].contiguous(),
        faces=faces,
        colors=points[:, 3:6].contiguous() if colored else None,
        normals=points[:, 6:9].contiguous() if colored else None,
        keys=keys,
    )
