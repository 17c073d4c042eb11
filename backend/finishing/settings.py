"""What finishing does to a mesh: a switch and a number for each step, and presets."""

from dataclasses import dataclass
from typing import Any, Self

from backend.errors import UserError

RANGES: dict[str, tuple[float, float]] = {
    "resolution": (32, 512),
    "gap": (1, 8),
    "crumbs": (0, 1),
    "faces": (0, 2_000_000),
}
"""The lowest and highest value of each number."""
FEWEST_FACES = 4
"""Of a closed mesh: a tetrahedron's."""
_STEPS = ("whole", "outside", "crumbs", "faces", "watertight")


@dataclass(frozen=True)
class FinishSettings:
    """Steps in the order in which they run; a step that is switched off leaves the mesh as it is.

    whole: where the mesh has gaps or leaks its outer surface is drawn again, closed, in `resolution` cubes
    along the longest side; openings narrower than twice `gap` cubes are closed. outside: faces that no view
    from outside reaches go, and the surface is closed again. crumbs: parts with less than this share of the
    largest part's area go. faces: at most so many in the end; 0 keeps all. watertight: every edge has two
    faces in the end.
    """

    whole: bool = True
    outside: bool = True
    resolution: int = 256
    gap: float = 3.0
    crumbs: float = 0.01
    faces: int = 100_000
    watertight: bool = True

    def __post_init__(self) -> None:
        """Raises UserError for a number out of its range."""
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UserError(f"Finishing cannot use {value} for {name}; choose {low} to {high}.")
        if 0 < self.faces < FEWEST_FACES:
            raise UserError(
                f"No closed mesh has only {self.faces} faces; choose {FEWEST_FACES} or more, or 0 for all."
            )

    @classmethod
    def preset(cls, name: str) -> Self:
        """The settings of a preset; UserError for an unknown name."""
        if name not in PRESETS:
            raise UserError(f"There is no finish {name!r}; choose of {', '.join(PRESETS)}.")
        return cls(**PRESETS[name])

    @property
    def steps(self) -> tuple[str, ...]:
        """The names of the steps that are switched on, in their order."""
        return tuple(name for name in _STEPS if getattr(self, name))

    @property
    def changes_nothing(self) -> bool:
        """Whether every step is switched off."""
        return not self.steps


PRESETS: dict[str, dict[str, Any]] = {
    "raw": {"whole": False, "outside": False, "crumbs": 0.0, "faces": 0, "watertight": False},
    "film": {"faces": 100_000},
    "game": {"faces": 20_000},
    "mobile": {"faces": 5_000},
}
"""Settings by the name of the preset, where they differ from the defaults."""
