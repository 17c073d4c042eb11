"""A ray marcher for radiance fields, for comparison and sheets: front to back, composited on black.

S picture size · P rays.
"""

from __future__ import annotations

import numpy as np
import torch

from backend.geometry.render import focal_length
from backend.geometry.views import SPHERE_RADIUS, View
from backend.representations.radiance_field import RadianceField, query


def render_field(field: RadianceField, view: View, size: int, steps: int = 512) -> np.ndarray:
    """(S, S, 3) f32 in [0, 1]: what the view's camera sees, the origin in the middle, as `render_whole` shows
    meshes. `steps` samples are taken of each ray within the sphere round the unit cube.
    """
    elevation = torch.tensor(view.elevation, dtype=torch.float64)
    ahead = torch.stack([torch.zeros(()).double(), elevation.cos(), -elevation.sin()])
    up = torch.stack([torch.zeros(()).double(), elevation.sin(), elevation.cos()])
    right = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    place = ((torch.arange(size).double() + 0.5) / size - 0.5) / focal_length(view)
    rays = ahead + place[None, :, None] * right - place[:, None, None] * up
    rays = (rays / rays.norm(dim=-1, keepdim=True)).reshape(-1, 3)
    step = 2 * SPHERE_RADIUS / steps
    color, light = torch.zeros(len(rays), 3).double(), torch.ones(len(rays), 1).double()
    for number in range(steps):
        distance = view.distance - SPHERE_RADIUS + (number + 0.5) * step
        points = (rays * distance - ahead * view.distance).to(field.trivec.dtype)
        density, shade = query(field, points)
        alpha = 1 - torch.exp(-density.double() * step)[:, None]
        color += light * alpha * shade
        light *= 1 - alpha
    return color.reshape(size, size, 3).clamp(0, 1).float().numpy()
