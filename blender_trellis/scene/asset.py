"""What one job made, ready to be put into a scene or into files. No bpy here."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Asset:
    """`mesh`: vertices (V, 3), faces (F, 3), colors (V, 3) sRGB. `gaussian`: position, f_dc, scale (log) each
    (N, 3), opacity (N, 1) (logit), rotation (N, 4) w, x, y, z. Both Z up, front -Y, in the unit cube."""

    name: str
    mesh: Arrays | None = None
    gaussian: Arrays | None = None
    properties: Mapping[str, str | int] = field(default_factory=dict)  # where it came from
