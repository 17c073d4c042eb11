"""How a new asset is to stand in the scene: values only, which wait with its job. No bpy here."""

from dataclasses import dataclass
from typing import Literal

Where = Literal["cursor", "origin", "beside"]
Facing = Literal["front", "right", "back", "left"]
QUARTERS: dict[Facing, int] = {"front": 0, "right": 1, "back": 2, "left": 3}
"""Quarter turns about Z from how assets are made: they face -Y, as Blender's front view sees them."""


@dataclass(frozen=True)
class Standing:
    """Where a new asset goes that has no place yet. It never goes into what stands there: it moves along +X.

    height: metres, 0 leaves it as it was made. where: what its foot goes to, or whose neighbour it becomes.
    on_ground: at the height 0 of the world, whatever that of the cursor. foot: goes before `where`.
    """

    height: float = 0.0
    where: Where = "cursor"
    on_ground: bool = False
    facing: Facing = "front"
    foot: tuple[float, float, float] | None = None


AT_CURSOR = Standing()
