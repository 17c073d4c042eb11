"""A mesh -> the same mesh with a texture: unwrapped, then every texel gets the colour of its surface point.

V vertices · F faces · P texels.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from backend.errors import UserError
from backend.geometry.pieces import inside_out, sides
from backend.representations.gaussians import Gaussians
from backend.representations.mesh import Mesh, TexturedMesh
from backend.representations.sharp_edges import cut_between_fans, sharp_normals
from backend.texturing.kept import Former, as_before
from backend.texturing.painting import evened, painted, place
from backend.texturing.projection import PictureView
from backend.texturing.settings import MATERIALS, TextureSettings
from backend.texturing.splat_colors import splat_colors
from backend.texturing.splat_views import seen_colors
from backend.texturing.texels import (
    Texels,
    corner_values,
    image_of,
    shared_part,
    texels_of,
    without_texel,
)
from backend.texturing.unwrap import Unwrapped, unwrap, whole

Report = Callable[[str, int, int], None]
"""Told of a step, what is done of it and how much there is; may raise to stop."""

SurfaceColors = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Gives colours (P, 3) in [0, 1] at places in faces: (P,), and (P, 3) weights of their corners."""

_GREY = 0.8
# A density of splats that counts as much as the colour of the mesh.
_EQUAL_DENSITY = 0.02
# Views that see a place with this weight tell its colour alone; a view straight at it weighs 1.
_CLEAR_SIGHT = 0.25
# Less of an artist's coordinates than this may be shared by rounding alone.
_SHARED = 0.03
# Of 1, in each channel: less is no other colour.
_OTHER = 16 / 255


_NOTHING_PAINTED = (
    "The pictures paint nothing of the mesh: no face that they show looks towards them; turn its faces round."
)


def silent(step: str, done: int, of: int) -> None:
    """A report that nobody hears."""


def texture_mesh(
    mesh: Mesh,
    settings: TextureSettings,
    gaussians: Gaussians | None = None,
    pictures: Sequence[PictureView] = (),
    report: Report = silent,
    uv: np.ndarray | None = None,
    former: Former | None = None,
    own: SurfaceColors | None = None,
) -> TexturedMesh:
    """Bake the base colour of a mesh: of its Gaussians, of its vertices where none are, and of
    the pictures where they show it.

    uv (F, 3, 2): an artist's own coordinates of each corner, which are kept. former: the texture before an
    edit, which what the edit has kept keeps. own: what the mesh shows already, finer than at its vertices.
    Raises UserError for a mesh without faces, with broken coordinates or with too many faces to unwrap.
    """
    _check(mesh)
    report("unwrap", 0, 1)
    vertices, faces = (part.detach().cpu().numpy() for part in (mesh.vertices.float(), mesh.faces))
    if uv is None:
        cut = unwrap(vertices, faces, settings.size, settings.padding, lambda: report("unwrap", 0, 1))
    else:
        cut = whole(faces, uv)
    report("unwrap", 1, 1)
    report("bake", 0, 2 + len(pictures))
    # Smooth ones would say of a face at a sharp edge that it turns away from whoever sees it.
    fans, turned = sharp_normals(vertices, faces)
    outer, outer_fans, outer_normals = _seen_from_outside(vertices, faces, fans, turned)
    places, kept = vertices[cut.origin], uv is not None
    texels = texels_of(places, cut.faces, cut.uv, settings.size, outer_normals, outer_fans, each=kept)
    own_remarks = _remarks_on(cut, texels) if kept else ()
    colors = _own_colors(mesh, cut, texels, own)
    if kept:
        own_remarks += _remarks_on_lost(mesh, cut, texels, colors, own)
    if gaussians is not None:
        known, steps = mesh.colors is not None, 2 + len(pictures)
        wait = partial(report, "bake", 0, steps)
        colors = _splat_colors(colors, texels, gaussians, vertices, outer, known, wait)
    remarks: tuple[str, ...] = ()
    if settings.project_picture and pictures:
        placed, remarks = place(pictures, vertices, faces, _vertex_colors(mesh))
        placed = evened(placed, vertices, outer) if settings.delight else placed
        steps = 2 + len(pictures)
        colors, shown = painted(
            colors,
            texels,
            placed,
            vertices,
            outer,
            settings.symmetry,
            lambda done: report("bake", done, steps),
        )
        if placed and not shown:
            remarks += (_NOTHING_PAINTED,)
    if former is not None:
        colors = as_before(colors, texels, former)
    report("bake", 1 + len(pictures), 2 + len(pictures))
    image = image_of(colors, texels)
    report("bake", 2 + len(pictures), 2 + len(pictures))
    roughness, metallic = MATERIALS[settings.material]
    split, source, fan = cut_between_fans(cut.faces, fans)
    origin = cut.origin[source]
    return TexturedMesh(
        vertices=torch.from_numpy(vertices[origin]),
        faces=torch.from_numpy(split),
        normals=torch.from_numpy(turned[fan]),
        uv=torch.from_numpy(cut.uv[source]),
        origin=torch.from_numpy(origin),
        image=image,
        roughness=roughness,
        metallic=metallic,
        remarks=own_remarks + remarks,
    )


def _seen_from_outside(
    vertices: np.ndarray, faces: np.ndarray, fans: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces (F, 3) turned alike and outwards, which decides what is seen of them, and
    their fans and normals; the numbers of the fans (F, 3) are in the order of the corners as they are.
    """
    piece, turn = sides(faces)
    turn = turn ^ inside_out(vertices, np.where(turn[:, None], faces[:, ::-1], faces), piece)
    if not turn.any():
        return faces, fans, normals
    outer = np.where(turn[:, None], faces[:, ::-1], faces)
    fans, normals = sharp_normals(vertices, outer)
    return outer, np.where(turn[:, None], fans[:, ::-1], fans), normals


def _check(mesh: Mesh) -> None:
    if len(mesh.faces) == 0:
        raise UserError("The mesh has no faces, so there is nothing to texture; give a mesh with a surface.")
    if not torch.isfinite(mesh.vertices).all():
        raise UserError("The mesh has coordinates that are no numbers; repair it before it is textured.")


def _remarks_on(cut: Unwrapped, texels: Texels) -> tuple[str, ...]:
    """What is to be said of an artist's own coordinates. UserError where they cover nothing."""
    if len(texels.place) == 0:
        raise UserError(
            "The mesh's texture coordinates cover no texel; unwrap it again, or leave --keep-uv out."
        )
    shared = shared_part(texels, cut.faces, cut.uv)
    if shared < _SHARED:
        return ()
    return (
        f"{shared:.0%} of the faces' area in the texture is shared with other faces; a texel shows the first "
        "of its faces. Unwrap the mesh so that each face has a place of its own, or leave --keep-uv out.",
    )


def _vertex_colors(mesh: Mesh) -> np.ndarray | None:
    """(V, 3) in [0, 1]."""
    return None if mesh.colors is None else mesh.colors.detach().float().cpu().clamp(0, 1).numpy()


def _own_colors(mesh: Mesh, cut: Unwrapped, texels: Texels, surface: SurfaceColors | None) -> np.ndarray:
    """Colours (P, 3) that the mesh has at the texels, or grey."""
    if surface is not None:
        return surface(texels.face, texels.weights)
    own = _vertex_colors(mesh)
    if own is None:
        return np.full((len(texels.face), 3), _GREY, np.float32)
    return corner_values(own[cut.origin], cut.faces, texels)


def _remarks_on_lost(
    mesh: Mesh, cut: Unwrapped, texels: Texels, colors: np.ndarray, surface: SurfaceColors | None
) -> tuple[str, ...]:
    """What is to be said of faces that no texel shows, and that have another colour than it has."""
    lost, at = without_texel(texels, cut.faces, cut.uv)
    middles = replace(texels, face=lost, weights=np.full((len(lost), 3), 1 / 3, np.float32))
    differ = np.abs(_own_colors(mesh, cut, middles, surface) - colors[at]).max(axis=1, initial=0) > _OTHER
    corners = mesh.vertices.detach().cpu().double().numpy()[cut.origin[cut.faces[lost]]]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    count = int((differ & (areas > 0)).sum())
    if not count:
        return ()
    return (
        f"{count:,} faces have no texel of their own and change their color. Give them more room in the "
        "texture, bake a larger one, or leave --keep-uv out.",
    )


def _splat_colors(
    colors: np.ndarray,
    texels: Texels,
    gaussians: Gaussians,
    vertices: np.ndarray,
    faces: np.ndarray,
    known: bool,
    wait: Callable[[], None],
) -> np.ndarray:
    """Colours (P, 3) that the splats show at the texels; where no view sees those, of splats near them; as
    far as no splats are near, those of the mesh (P, 3), which are `known` or grey.
    """
    seen, sight = seen_colors(texels, gaussians, vertices, faces, wait)
    hidden = np.flatnonzero(sight < _CLEAR_SIGHT)
    splats, density = splat_colors(texels.position, gaussians, hidden)
    share = (density / (density + (_EQUAL_DENSITY if known else 1e-9)))[:, None]
    colors[hidden] += (splats - colors[hidden]) * share
    return colors + (seen - colors) * np.minimum(sight / _CLEAR_SIGHT, 1)[:, None]
