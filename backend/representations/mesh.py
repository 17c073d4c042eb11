"""Triangle meshes: with optional colour and normal per vertex, or with a texture."""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Mesh:
    """Faces turn counter-clockwise seen from outside; object space [-0.5, 0.5]³, z up."""

    vertices: torch.Tensor  # (V, 3) float
    faces: torch.Tensor  # (F, 3) int64
    colors: torch.Tensor | None = None  # (V, 3) sRGB in [0, 1]
    normals: torch.Tensor | None = None  # (V, 3) the network's normal map in [0, 1], 0.5 meaning zero
    keys: torch.Tensor | None = None  # (V,) int64, distinct; what extraction names each vertex by
    # (F, 3, 3) sRGB in [0, 1]; where colours have borders, those of each face's corners
    corner_colors: torch.Tensor | None = None


@dataclass(frozen=True)
class VertexColors:
    """Colours for a mesh that somebody else has."""

    colors: torch.Tensor  # (V, 3) sRGB in [0, 1]
    image: np.ndarray | None = (
        None  # (S, S, 3) u8 sRGB, the first row on top, where it has coordinates for one
    )


def face_normals(mesh: Mesh) -> torch.Tensor:
    """Unit normals (F, 3); zero for a face without area."""
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    return torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)


def vertex_normals(mesh: Mesh) -> torch.Tensor:
    """Unit normals (V, 3), the faces weighted by area; up where there is no face with an area."""
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    areas = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(mesh.vertices)
    for corner in range(3):
        total.index_add_(0, mesh.faces[:, corner], areas)
    # Scaled first: the squares of tiny areas are below what float32 holds.
    largest = total.abs().amax(dim=-1, keepdim=True)
    scaled = torch.where(largest > 0, total / largest, total.new_tensor([0.0, 0.0, 1.0]))
    return torch.nn.functional.normalize(scaled, dim=-1)


@dataclass(frozen=True)
class TexturedMesh:
    """A mesh cut along the seams of its texture and its sharp edges; space and winding as of `Mesh`."""

    vertices: torch.Tensor  # (W, 3) f32
    faces: torch.Tensor  # (F, 3) int64
    normals: torch.Tensor  # (W, 3) f32 unit, the same on both sides of a seam that is not sharp
    uv: torch.Tensor  # (W, 2) f32 in [0, 1], origin in the lower left corner of the image
    origin: torch.Tensor  # (W,) int64 the vertex of the uncut mesh that each one is a copy of
    image: np.ndarray  # (S, S, 3) u8 sRGB base colour, the first row on top
    roughness: float = 1.0
    metallic: float = 0.0
    remarks: tuple[str, ...] = ()  # sentences on what was left out

    @property
    def surface(self) -> dict[str, float]:
        """What messages say of it beside the image."""
        return {"roughness": self.roughness, "metallic": self.metallic}
