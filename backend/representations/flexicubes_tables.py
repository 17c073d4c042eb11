"""The 256 cases of dual marching cubes, derived from their rule instead of being listed.

A case is the set of a cube's corners that lie inside, as bits: corner n counts 2ⁿ. Every case has up to four
dual vertices, and every crossing edge belongs to exactly one of them.
"""

import functools
from dataclasses import dataclass

import torch

CORNERS = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1))
# Ends in stored order: x and z edges run low to high, y edges high to low; so one rule orients the faces
# around the edges of all three axes.
EDGES = (
    (0, 1), (1, 5), (4, 5), (0, 4), (2, 3), (3, 7), (6, 7), (2, 6), (2, 0), (3, 1), (7, 5), (6, 4),
)  # fmt: skip
FACES = tuple((axis, side) for axis in range(3) for side in (0, 1))
MOST_VERTICES, MOST_EDGES = 4, 7
# The published table lists the two vertices of this case against its own order.
_REVERSED_CASE = 231


@dataclass(frozen=True)
class CaseTables:
    """Lookups by case on one device."""

    edges: torch.Tensor  # (256, 4, 7) ascending edges of each dual vertex, -1 where there are fewer
    counts: torch.Tensor  # (256,) number of dual vertices
    vertex_of_edge: torch.Tensor  # (256, 12) the dual vertex that owns the edge, -1 if it is not crossed
    ambiguous_face: torch.Tensor  # (256,) index into FACES of cases that may have to be inverted, else -1
    face_steps: torch.Tensor  # (6, 3) from a cube to its neighbour across each face


@functools.cache
def case_tables(device: torch.device) -> CaseTables:
    """The tables of all cases; a few milliseconds the first time."""
    edges = torch.full((256, MOST_VERTICES, MOST_EDGES), -1)
    vertex_of_edge = torch.full((256, len(EDGES)), -1)
    groups = [dual_vertices(case) for case in range(256)]
    for case, vertices in enumerate(groups):
        for vertex, loop in enumerate(vertices):
            edges[case, vertex, : len(loop)] = torch.tensor(loop)
            vertex_of_edge[case, list(loop)] = vertex
    steps = [[(2 * side - 1) * (axis == direction) for direction in range(3)] for axis, side in FACES]
    return CaseTables(
        edges=edges.to(device),
        counts=torch.tensor([len(vertices) for vertices in groups], device=device),
        vertex_of_edge=vertex_of_edge.to(device),
        ambiguous_face=torch.tensor([_lone_ambiguous_face(case) for case in range(256)], device=device),
        face_steps=torch.tensor(steps, device=device),
    )


def dual_vertices(case: int) -> list[tuple[int, ...]]:
    """Crossing edges of a case, grouped by dual vertex.

    Edges are linked where the surface runs from one to the other over a face of the cube. On an ambiguous
    face, whose inside corners are diagonal, the surface cuts each inside corner off.
    """
    links = {
        edge: {edge} for edge, ends in enumerate(EDGES) if _inside(case, ends[0]) != _inside(case, ends[1])
    }
    for face in FACES:
        for group in _face_links(case, face):
            merged = set().union(*(links[edge] for edge in group))
            links |= {edge: merged for edge in merged}
    loops = {tuple(sorted(group)) for group in links.values()}
    ordered = sorted(
        loops, key=lambda loop: (min(c for e in loop for c in EDGES[e] if _inside(case, c)), loop)
    )
    return ordered[::-1] if case == _REVERSED_CASE else ordered


def _inside(case: int, corner: int) -> bool:
    return bool(case >> corner & 1)


def _crossings(case: int, face: tuple[int, int]) -> list[int]:
    """Crossing edges that lie in a face."""
    axis, side = face
    in_face = [edge for edge, ends in enumerate(EDGES) if all(CORNERS[end][axis] == side for end in ends)]
    return [edge for edge in in_face if _inside(case, EDGES[edge][0]) != _inside(case, EDGES[edge][1])]


def _face_links(case: int, face: tuple[int, int]) -> list[list[int]]:
    crossings = _crossings(case, face)
    if len(crossings) < 4:
        return [crossings] if crossings else []
    corners = {corner for edge in crossings for corner in EDGES[edge] if _inside(case, corner)}
    return [[edge for edge in crossings if corner in EDGES[edge]] for corner in corners]


def _lone_ambiguous_face(case: int) -> int:
    """The ambiguous face of a case that has just one and whose surface is one loop; otherwise -1."""
    ambiguous = [index for index, face in enumerate(FACES) if len(_crossings(case, face)) == 4]
    return ambiguous[0] if len(ambiguous) == 1 and len(dual_vertices(case)) == 1 else -1
