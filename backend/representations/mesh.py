"""A triangle mesh with optional colour and normal per vertex."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Mesh:
    """Faces turn counter-clockwise seen from outside; object space [-0.5, 0.5]³, z up."""

    vertices: torch.Tensor  # (V, 3) float
    faces: torch.Tensor  # (F, 3) int64
    colors: torch.Tensor | None = None  # (V, 3) sRGB in [0, 1]
    normals: torch.Tensor | None = None  # (V, 3) the network's normal map in [0, 1], 0.5 meaning zero

    def __len__(self) -> int:
        """Number of faces; an empty mesh is false."""
        return len(self.faces)


def face_normals(mesh: Mesh) -> torch.Tensor:
    """Unit normals (F, 3); zero for a face without area."""
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    return torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
