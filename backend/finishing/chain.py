"""The steps that turn a raw mesh into a finished one, in their order."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np

from backend.errors import UserError
from backend.finishing.arrays import ArrayMesh, face_areas
from backend.finishing.budget import reduce_faces
from backend.finishing.closing import close_mesh
from backend.finishing.hidden import Sight, leaks, may_be_sound, remove_hidden, sight_of, turned_outwards
from backend.finishing.parts import join_loose_parts, remove_crumbs
from backend.finishing.rebuild import rebuild, without_hidden_tunnels
from backend.finishing.report import FinishReport, MeshFacts, StepReport, facts_of
from backend.finishing.settings import FinishSettings
from backend.geometry.pieces import sides
from backend.representations.mesh import Mesh

Report = Callable[[str, int, int], None]
"""Told of a step's name, how many steps are done and how many there are, often the same again; may raise to
stop."""


_NO_AREA = 1e-10  # of the square of the longest side: single precision tells places apart to 1e-7


def silent(step: str, done: int, of: int) -> None:
    """A report that nobody hears."""


def finish_mesh(mesh: Mesh, settings: FinishSettings, report: Report = silent) -> tuple[Mesh, FinishReport]:
    """The finished mesh on the same device, and what was done; the mesh itself where all steps are off.

    Raises UserError for coordinates or colours that are no numbers, and for a mesh without an area.
    """
    raw = _checked(ArrayMesh.of(mesh))
    piece, turned = sides(raw.faces)
    raw = raw.turned(turned) if turned.any() else raw
    if settings.changes_nothing:
        return mesh, FinishReport(facts_of(raw), facts_of(raw), ())
    names = settings.steps
    told = (names[0], 0, len(names))  # what is seen of the mesh is worked out before the first step

    def wait() -> None:
        report(*told)

    sight = cache(partial(sight_of, raw, wait))  # which way faces are turned makes no difference to it
    raw = turned_outwards(raw, piece, sight)
    before = facts_of(raw)
    steps = _steps(raw, before, sight, settings, wait)
    arrays, done = raw, []
    for number, name in enumerate(names):
        told = (name, number, len(names))
        report(*told)
        count = len(arrays.faces)
        arrays, detail = steps[name](arrays)
        done.append(StepReport(name, count, len(arrays.faces), detail))
    report(names[-1], len(names), len(names))
    if len(arrays.faces) == 0:
        raise UserError(
            "Nothing of the mesh can be closed; finish it raw, or with the outer surface drawn again."
        )
    made = arrays.with_borders_of(raw).to_mesh(mesh.vertices.device)
    return made, FinishReport(before, facts_of(arrays), tuple(done))


_Step = Callable[[ArrayMesh], tuple[ArrayMesh, str]]


def _steps(
    raw: ArrayMesh,
    before: MeshFacts,
    sight: Callable[[], Sight],
    settings: FinishSettings,
    wait: Callable[[], None],
) -> dict[str, _Step]:
    return {
        "whole": lambda mesh: _whole(mesh, before, sight, settings, wait),
        "outside": lambda mesh: _outside(mesh, raw, sight, settings),
        "crumbs": lambda mesh: _crumbs(mesh, settings, wait),
        "faces": lambda mesh: (reduce_faces(mesh, settings.faces, wait), ""),
        "watertight": lambda mesh: _watertight(mesh, settings, wait),
    }


def _whole(
    mesh: ArrayMesh,
    facts: MeshFacts,
    sight: Callable[[], Sight],
    settings: FinishSettings,
    wait: Callable[[], None],
) -> tuple[ArrayMesh, str]:
    sound = may_be_sound(facts) and not leaks(sight())
    if sound and not facts.genus:
        return mesh, "whole already"
    draw = without_hidden_tunnels if sound else partial(rebuild, gap=settings.gap)
    made, tunnels = draw(mesh, settings.resolution, wait=wait)
    if made is mesh:
        return mesh, "whole already"
    words = f"drawn again in {settings.resolution}³ cubes"
    return made, f"{words}, {_tunnels(tunnels)}" if tunnels else words


def _tunnels(count: int) -> str:
    return f"{count} hidden tunnel{'s' * (count > 1)} closed"


def _outside(
    mesh: ArrayMesh, raw: ArrayMesh, sight: Callable[[], Sight], settings: FinishSettings
) -> tuple[ArrayMesh, str]:
    if settings.whole and mesh is not raw:
        return mesh, "drawn from outside, so nothing is hidden"
    outer = remove_hidden(mesh, sight())
    return outer, "nothing to remove" if outer is mesh else "what no outside view reaches removed"


def _crumbs(mesh: ArrayMesh, settings: FinishSettings, wait: Callable[[], None]) -> tuple[ArrayMesh, str]:
    whole, joined = join_loose_parts(mesh, settings.crumbs, wait)
    kept, gone = remove_crumbs(whole, settings.crumbs)
    return kept, f"{gone} parts removed" + (f", {joined} joined" if joined else "")


def _watertight(mesh: ArrayMesh, settings: FinishSettings, wait: Callable[[], None]) -> tuple[ArrayMesh, str]:
    closed = close_mesh(mesh)
    if closed is mesh:
        return mesh, "nothing to close"
    # Caps may exceed the budget again.
    return reduce_faces(closed, settings.faces, wait), "cut where it crossed itself, and capped"


def _checked(mesh: ArrayMesh) -> ArrayMesh:
    """The mesh without faces that name a vertex twice, which are none."""
    if len(mesh.faces) == 0:
        raise UserError("The mesh has no faces, so there is nothing to finish; choose another mesh.")
    if not np.isfinite(mesh.vertices).all() or (
        mesh.colors is not None and not np.isfinite(mesh.colors).all()
    ):
        raise UserError("The mesh holds numbers that are not finite; repair it or make it again.")
    if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        raise UserError("The mesh's faces name vertices that do not exist; repair it or export it again.")
    a, b, c = mesh.faces.T
    real = (a != b) & (b != c) & (c != a)
    mesh = mesh if real.all() else mesh.keep(real)
    size = np.ptp(mesh.vertices, axis=0).max() if len(mesh.faces) else 0.0
    if not face_areas(mesh).sum() > _NO_AREA * size**2:
        raise UserError("The mesh's faces have no area, so it has no surface; choose another mesh.")
    return mesh
