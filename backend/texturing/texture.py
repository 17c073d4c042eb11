"""A mesh -> the same mesh with a texture: unwrapped, then every texel gets the colour of its surface point.

V vertices · F faces · P texels.
"""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch

from backend.errors import UserError
from backend.representations.gaussians import Gaussians
from backend.representations.mesh import Mesh, TexturedMesh, vertex_normals
from backend.texturing.camera import Camera
from backend.texturing.fitting import ALL_ROUND, GOOD_OVERLAP, fit_camera
from backend.texturing.projection import PictureView, projected
from backend.texturing.settings import MATERIALS, TextureSettings
from backend.texturing.splat_colors import splat_colors
from backend.texturing.texels import Texels, corner_values, image_of, texels_of
from backend.texturing.tones import carried
from backend.texturing.unwrap import Unwrapped, unwrap, whole

log = logging.getLogger(__name__)

Report = Callable[[str, int, int], None]
"""Told of a step, what is done of it and how much there is; may raise to stop."""

_GREY = 0.8
# A density of splats that counts as much as the colour of the mesh.
_EQUAL_DENSITY = 0.02


def silent(step: str, done: int, of: int) -> None:
    """A report that nobody hears."""


def texture_mesh(
    mesh: Mesh,
    settings: TextureSettings,
    gaussians: Gaussians | None = None,
    pictures: Sequence[PictureView] = (),
    report: Report = silent,
    uv: np.ndarray | None = None,
) -> TexturedMesh:
    """Bake the base colour of a mesh: of Gaussians near each texel, of its vertices where none are, and of
    the pictures where they show it.

    uv (F, 3, 2): an artist's own coordinates of each corner, which are kept. Raises UserError for a mesh
    without faces, with broken coordinates or with too many faces to unwrap.
    """
    _check(mesh)
    report("unwrap", 0, 1)
    vertices, faces = (part.detach().cpu().numpy() for part in (mesh.vertices.float(), mesh.faces))
    cut = unwrap(vertices, faces, settings.size, settings.padding) if uv is None else whole(faces, uv)
    report("unwrap", 1, 1)
    report("bake", 0, 2 + len(pictures))
    normals = vertex_normals(mesh).detach().float().cpu()[torch.from_numpy(cut.origin)]
    texels = texels_of(vertices[cut.origin], normals.numpy(), cut.faces, cut.uv, settings.size)
    colors = _surface_colors(mesh, cut, texels, gaussians)
    remarks: tuple[str, ...] = ()
    if settings.project_picture and pictures:
        cameras, remarks = _cameras(pictures, mesh, vertices, faces)
        colors = _with_pictures(colors, texels, cameras, vertices, faces, report)
    report("bake", 1 + len(pictures), 2 + len(pictures))
    image = image_of(colors, texels)
    report("bake", 2 + len(pictures), 2 + len(pictures))
    roughness, metallic = MATERIALS[settings.material]
    return TexturedMesh(
        vertices=torch.from_numpy(vertices[cut.origin]),
        faces=torch.from_numpy(cut.faces),
        normals=normals,
        uv=torch.from_numpy(cut.uv),
        origin=torch.from_numpy(cut.origin),
        image=image,
        roughness=roughness,
        metallic=metallic,
        remarks=remarks,
    )


def _check(mesh: Mesh) -> None:
    if len(mesh.faces) == 0:
        raise UserError("The mesh has no faces, so there is nothing to texture; give a mesh with a surface.")
    if not torch.isfinite(mesh.vertices).all():
        raise UserError("The mesh has coordinates that are no numbers; repair it before it is textured.")


def _surface_colors(mesh: Mesh, cut: Unwrapped, texels: Texels, gaussians: Gaussians | None) -> np.ndarray:
    """Colours (P, 3) of splats near the texels; of the mesh, or grey, as far as no splats are near."""
    if mesh.colors is None:
        colors = np.full((len(texels.place), 3), _GREY, np.float32)
    else:
        own = mesh.colors.detach().float().cpu().clamp(0, 1).numpy()[cut.origin]
        colors = corner_values(own, cut.faces, texels)
    if gaussians is None:
        return colors
    splats, density = splat_colors(texels.position, gaussians)
    share = (density / (density + (_EQUAL_DENSITY if mesh.colors is not None else 1e-9)))[:, None]
    return colors + (splats - colors) * share


def _cameras(
    pictures: Sequence[PictureView], mesh: Mesh, vertices: np.ndarray, faces: np.ndarray
) -> tuple[list[tuple[PictureView, Camera]], tuple[str, ...]]:
    """The pictures whose cameras are known or could be found, and what is to be said of the others."""
    colors = None if mesh.colors is None else mesh.colors.detach().float().cpu().clamp(0, 1).numpy()
    found, remarks = [], []
    for number, picture in enumerate(pictures, start=1):
        camera = picture.camera
        if camera is None:
            azimuths = (0.0,) if picture.aligned else ALL_ROUND
            fit = fit_camera(vertices, faces, picture.pixels, colors, azimuths)
            if not picture.aligned and fit.overlap < GOOD_OVERLAP:
                remarks.append(
                    f"Picture {number} is not projected: from no side has the object its outline "
                    f"(best overlap {fit.overlap:.0%})."
                )
                log.warning(remarks[-1])
                continue
            camera = fit.camera
        found.append((picture, camera))
    return found, tuple(remarks)


def _with_pictures(
    colors: np.ndarray,
    texels: Texels,
    pictures: Sequence[tuple[PictureView, Camera]],
    vertices: np.ndarray,
    faces: np.ndarray,
    report: Report,
) -> np.ndarray:
    """Colours (P, 3) with those of the pictures where they show the surface, and their tone elsewhere."""
    total, weight = np.zeros_like(colors), np.zeros(len(colors), np.float32)
    trust = np.zeros(len(colors), np.float32)
    for number, (picture, camera) in enumerate(pictures):
        seen, trusted = projected(picture, camera, texels, vertices, faces)
        sharp = trusted**4  # where several pictures show a place, the one that sees it best decides
        total += seen * sharp[:, None]
        weight += sharp
        trust = np.maximum(trust, trusted)
        report("bake", 1 + number, 2 + len(pictures))
    shown = total / np.maximum(weight, 1e-12)[:, None]
    tone = carried(texels.position, shown - colors, np.where(weight > 1e-12, trust, 0))
    base = np.clip(colors + tone, 0, 1)
    return base + (shown - base) * trust[:, None]
