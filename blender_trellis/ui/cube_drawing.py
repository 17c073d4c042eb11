"""Voxels as cubes in a 3D view: what a draw handler keeps of them between redraws, and how it draws them."""

from dataclasses import dataclass, field

import gpu
import numpy as np
from mathutils import Matrix

from ..editing.voxel_cubes import grid_corners, visible_sides

SHADES = (0.72, 0.55, 1.0)  # of sides that look along x, y and z


@dataclass
class Cubes:
    """The cubes of one grid on the graphics card; `fill` replaces them."""

    resolution: int = 0
    corners: "gpu.types.GPUVertBuf | None" = None
    batches: "list[tuple[float, gpu.types.GPUBatch]]" = field(default_factory=list)

    def fill(self, taken: np.ndarray) -> None:
        """Those of the voxels taken (R, R, R) bool."""
        if self.resolution != len(taken):
            self.resolution, self.corners = len(taken), _corner_buffer(len(taken))
        self.batches = []
        for shade, triangles in zip(SHADES, visible_sides(taken), strict=True):
            if len(triangles):
                indices = gpu.types.GPUIndexBuf(type="TRIS", seq=triangles)
                self.batches.append((shade, gpu.types.GPUBatch(type="TRIS", buf=self.corners, elem=indices)))

    def draw(self, matrix: Matrix, color: tuple[float, float, float], alpha: float) -> None:
        """Draws them in the unit cube that `matrix` takes into the world; alpha 1 hides what lies behind."""
        shader = gpu.shader.from_builtin("UNIFORM_COLOR")
        gpu.state.blend_set("ALPHA" if alpha < 1 else "NONE")
        gpu.state.depth_test_set("LESS_EQUAL")
        gpu.state.depth_mask_set(alpha >= 1)
        gpu.state.face_culling_set("BACK" if matrix.determinant() > 0 else "FRONT")
        with gpu.matrix.push_pop():
            gpu.matrix.multiply_matrix(matrix)
            shader.bind()
            for shade, batch in self.batches:
                shader.uniform_float("color", (*(shade * part for part in color), alpha))
                batch.draw(shader)
        gpu.state.face_culling_set("NONE")
        gpu.state.depth_mask_set(False)
        gpu.state.depth_test_set("NONE")
        gpu.state.blend_set("NONE")


def _corner_buffer(resolution: int) -> "gpu.types.GPUVertBuf":
    corners = grid_corners(resolution)
    layout = gpu.types.GPUVertFormat()
    layout.attr_add(id="pos", comp_type="F32", len=3, fetch_mode="FLOAT")
    buffer = gpu.types.GPUVertBuf(layout, len(corners))
    buffer.attr_fill("pos", corners)
    return buffer
