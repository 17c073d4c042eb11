"""The structures to choose from: which there are, which are picked, and what becomes of them."""

from collections.abc import Mapping
from dataclasses import replace

from ...scene.window import redraw
from ..candidates import Candidate, complete
from .doing import cancel, submit
from .state import current
from .timer import wake


def candidates() -> tuple[Candidate, ...]:
    """The structures to choose from, by their numbers."""
    return current().candidates


def next_candidate() -> int:
    """The number that the next candidate gets."""
    state = current()
    coming = (one.candidate for one in state.placements.values())
    return max((*coming, *(one.number for one in state.candidates)), default=0) + 1


def pick(candidate: str) -> None:
    """Picks a candidate, or no longer."""
    state = current()
    state.candidates = tuple(
        replace(one, picked=not one.picked) if one.id == candidate else one for one in state.candidates
    )
    redraw(views=True)


def finish_picked(feet: Mapping[str, tuple[float, float, float]]) -> None:
    """Makes the rest of every candidate that is picked, where its foot is; the others stay to be picked."""
    state = current()
    for one in [one for one in state.candidates if one.picked]:
        standing = replace(one.placement.standing, foot=feet.get(one.id))
        submit(complete(one), replace(one.placement, standing=standing, candidate=0))
        state.candidates = tuple(other for other in state.candidates if other.id != one.id)
    redraw(views=True)


def discard_candidates() -> None:
    """Drops all candidates, and those that are still to come."""
    state = current()
    state.candidates = ()
    for name in [name for name, placement in state.placements.items() if placement.candidate]:
        cancel(name)
    wake()
    redraw(views=True)
