"""What finishing found and did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backend.finishing.arrays import ArrayMesh, edge_uses, is_closed, parts
from backend.geometry.pieces import pieces
from backend.representations.sharp_edges import corner_fans


@dataclass(frozen=True)
class MeshFacts:
    """genus: handles of all parts together, None where edges are open or not manifold, or faces beside each
    other are not turned alike; so is the volume.

    The volume is in cubic units of the mesh.
    """

    vertices: int
    faces: int
    components: int
    open_edges: int
    non_manifold_edges: int
    genus: int | None
    volume: float | None

    @property
    def watertight(self) -> bool:
        """Whether every edge has two faces."""
        return self.faces > 0 and not self.open_edges and not self.non_manifold_edges


@dataclass(frozen=True)
class StepReport:
    """One step: its name, faces before and after it, and a few words on what it did."""

    step: str
    faces_before: int
    faces_after: int
    detail: str = ""


@dataclass(frozen=True)
class FinishReport:
    """The mesh before and after, and the steps that ran, in order."""

    before: MeshFacts
    after: MeshFacts
    steps: tuple[StepReport, ...]

    def lines(self) -> tuple[str, ...]:
        """What each step did, a line for people each."""
        told = []
        for one in self.steps:
            faces = f"{one.faces_before} → {one.faces_after} faces"
            told.append(": ".join((one.step, ", ".join(filter(None, (faces, one.detail))))))
        return tuple(told)


def facts_of(mesh: ArrayMesh) -> MeshFacts:
    """Counts over a mesh whose vertices are shared between faces."""
    edges, uses = edge_uses(mesh.faces)
    open_edges, crowded = int((uses == 1).sum()), int((uses > 2).sum())
    components = int(parts(mesh).max()) + 1 if len(mesh.faces) else 0
    closed = bool(len(mesh.faces)) and not open_edges and not crowded and is_closed(mesh.faces)
    return MeshFacts(
        len(mesh.vertices), len(mesh.faces), components, open_edges, crowded,
        _handles(mesh.faces, components, len(edges)) if closed else None,
        _volume(mesh) if closed else None,
    )  # fmt: skip


def _handles(faces: np.ndarray, components: int, edges: int) -> int:
    """Of closed faces (F, 3), by Euler's formula."""
    found = components - (len(np.unique(faces)) - edges + len(faces)) // 2
    if found >= 0:
        return found
    # Parts touch in single vertices, which is none of a surface: there they count as apart.
    fans = np.unique(corner_fans(faces), return_inverse=True)[1].reshape(-1, 3)
    return int(pieces(fans)[1].max()) + 1 - (int(fans.max()) + 1 - edges + len(faces)) // 2


def _volume(mesh: ArrayMesh) -> float:
    corners = mesh.vertices - mesh.vertices.mean(axis=0)
    a, b, c = (corners[mesh.faces[:, corner]] for corner in range(3))
    return float((a * np.cross(b, c)).sum() / 6)
