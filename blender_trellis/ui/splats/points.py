"""Splats as coloured points in a 3D view, where drawing them whole would take too long."""

import bpy
import gpu
import numpy as np
from mathutils import Matrix

from ...splats import harmonics

CLEAR = 0.0  # splats of lower opacity (logit) are left out


def point_batch(position: np.ndarray, f_dc: np.ndarray, opacity: np.ndarray) -> "gpu.types.GPUBatch":
    """Points on the graphics card.

    position: (N, 3). f_dc: (N, 3), harmonics of degree 0. opacity: (N, 1), logits.
    """
    clear = opacity.ravel() > CLEAR
    color = np.ones((int(clear.sum()), 4), np.float32)
    color[:, :3] = np.clip(0.5 + harmonics.DC * f_dc[clear], 0, 1)
    layout = gpu.types.GPUVertFormat()
    layout.attr_add(id="pos", comp_type="F32", len=3, fetch_mode="FLOAT")
    layout.attr_add(id="color", comp_type="F32", len=4, fetch_mode="FLOAT")
    buffer = gpu.types.GPUVertBuf(layout, len(color))
    buffer.attr_fill("pos", np.ascontiguousarray(position[clear], np.float32))
    buffer.attr_fill("color", color)
    return gpu.types.GPUBatch(type="POINTS", buf=buffer)


def draw_points(batch: "gpu.types.GPUBatch", matrix: Matrix, pixels: float) -> None:
    """Draws them where `matrix` takes them into the world, each so many pixels wide."""
    shader = gpu.shader.from_builtin("POINT_FLAT_COLOR" if bpy.app.version >= (4, 5) else "FLAT_COLOR")
    gpu.state.point_size_set(pixels)
    gpu.state.depth_test_set("LESS_EQUAL")
    gpu.state.depth_mask_set(True)
    with gpu.matrix.push_pop():
        gpu.matrix.multiply_matrix(matrix)
        shader.bind()
        batch.draw(shader)
    gpu.state.depth_mask_set(False)
    gpu.state.depth_test_set("NONE")
