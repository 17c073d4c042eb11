"""Pictures of what latents decode to, among them the one that a view-aligned model expects to see.

V vertices · F faces.
"""

import math

import numpy as np
from PIL import Image

from backend.geometry.mesh_files import Asset
from backend.geometry.render import draw_cutout
from backend.geometry.scene import turned_mesh
from backend.geometry.views import View, fixed_view
from backend.representations.mesh import Mesh

PICTURE_ELEVATION, PICTURE_FOV = math.radians(17.5), math.radians(37.5)
"""Of the camera on −Y from which the starter takes its pictures to be."""


def decoded_asset(mesh: Mesh) -> Asset:
    """A model's mesh with flat colours; grey without colours."""
    vertices, faces = mesh.vertices.cpu().double().numpy(), mesh.faces.cpu().numpy().astype(np.int32)
    colors = np.full((len(vertices), 3), 0.5) if mesh.colors is None else mesh.colors.cpu().numpy()
    corners = (np.clip(colors[faces], 0, 1) * 255).round().astype(np.uint8)
    return Asset(vertices, faces, corners, np.zeros(len(faces), bool))


def portrait(
    mesh: Mesh,
    size: int = 768,
    azimuth: float = 0.0,
    elevation: float = PICTURE_ELEVATION,
    fov: float = PICTURE_FOV,
) -> Image.Image:
    """The mesh as a cut-out picture (RGBA), from the front unless told: painted over, it guides an edit."""
    view: View = fixed_view(azimuth, elevation, fov)
    return draw_cutout(turned_mesh(decoded_asset(mesh), azimuth), view, size)
