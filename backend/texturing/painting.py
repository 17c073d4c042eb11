"""Pictures over the colours of a surface: their cameras, what each shows best, and the way over to the rest.

V vertices · F faces · P texels.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from backend.texturing.camera import Camera
from backend.texturing.delight import without_shading
from backend.texturing.fitting import ALL_ROUND, GOOD_OVERLAP, fit_camera
from backend.texturing.projection import PictureView, projected, see_through_beside
from backend.texturing.settings import Symmetry
from backend.texturing.symmetry import mirrors
from backend.texturing.texels import Texels
from backend.texturing.tones import carried

log = logging.getLogger(__name__)

# How far a mirrored point may lie behind the surface it is compared with: no mesh mirrors itself exactly.
_MIRROR_SLACK = 0.03
_LACKING = 0.1  # of the object in a picture, from which on it is said that the mesh has nothing there


@dataclass(frozen=True)
class Placed:
    """A picture and its camera."""

    picture: PictureView
    camera: Camera


def place(
    pictures: Sequence[PictureView], vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray | None
) -> tuple[list[Placed], tuple[str, ...]]:
    """The pictures whose cameras are known or could be found, and what is to be said of the others, and of
    what a mesh lacks because its picture shows it half transparent.

    colors: (V, 3) in [0, 1] of the vertices, which help to tell front and back apart.
    """
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
        found.append(Placed(picture, camera))
        lacking = see_through_beside(picture, camera, vertices, faces)
        if lacking >= _LACKING:
            remarks.append(
                f"{lacking:.0%} of the object in picture {number} is see-through and has no mesh; make it "
                "opaque in the picture if it is to have one."
            )
            log.warning(remarks[-1])
    return found, tuple(remarks)


def evened(pictures: Sequence[Placed], vertices: np.ndarray, faces: np.ndarray) -> list[Placed]:
    """The same pictures without the light that fell on the mesh (V, 3), (F, 3)."""
    return [
        replace(
            one,
            picture=replace(
                one.picture, pixels=without_shading(one.picture.pixels, one.camera, vertices, faces)
            ),
        )
        for one in pictures
    ]


def painted(
    colors: np.ndarray,
    texels: Texels,
    pictures: Sequence[Placed],
    vertices: np.ndarray,
    faces: np.ndarray,
    symmetry: Symmetry = "off",
    report: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, bool]:
    """Colours (P, 3) with those of the pictures where they show the surface, and their tone elsewhere; and
    whether they show any.

    `report` is told how many pictures are done.
    """
    shown, trust = _shown(texels, pictures, vertices, faces, report=report)
    tone = carried(texels.position, shown - colors, trust)
    result = np.clip(colors + tone, 0, 1)
    if symmetry != "off":
        for mirror in mirrors(texels.position, symmetry == "on"):
            other = replace(
                texels,
                position=mirror.points(texels.position).astype(np.float32),
                normal=mirror.directions(texels.normal).astype(np.float32),
            )
            copied, share = _shown(other, pictures, vertices, faces, _MIRROR_SLACK)
            result = result + (copied - result) * share[:, None]
    return result + (shown - result) * trust[:, None], bool(trust.any())


def _shown(
    texels: Texels,
    pictures: Sequence[Placed],
    vertices: np.ndarray,
    faces: np.ndarray,
    slack: float | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Colours (P, 3) of the pictures at the texels and how far to trust them (P,), 0 where none does."""
    total, weight = np.zeros((len(texels.place), 3), np.float32), np.zeros(len(texels.place), np.float32)
    trust = np.zeros(len(texels.place), np.float32)
    options = {} if slack is None else {"slack": slack}
    for number, one in enumerate(pictures, start=1):
        seen, trusted = projected(one.picture, one.camera, texels, vertices, faces, **options)
        sharp = trusted**4  # where several pictures show a place, the one that sees it best decides
        total += seen * sharp[:, None]
        weight += sharp
        trust = np.maximum(trust, trusted)
        report(number)
    known = weight > 1e-12
    return total / np.where(known, weight, 1)[:, None], np.where(known, trust, 0)
