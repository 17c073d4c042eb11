"""What one job made, ready to be put into a scene or into files. No bpy here."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..jobs.job import Job
from ..protocol import Finished, Generate

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Asset:
    """`mesh`: vertices (V, 3), faces (F, 3), colors (V, 3) sRGB. `gaussian`: position, f_dc, scale (log) each
    (N, 3), opacity (N, 1) (logit), rotation (N, 4) w, x, y, z. Both Z up, front -Y, in the unit cube."""

    name: str
    mesh: Arrays | None = None
    gaussian: Arrays | None = None
    properties: Mapping[str, str | int] = field(default_factory=dict)  # where it came from


def asset_of(job: Job, name: str, version: str) -> Asset:
    """The asset of a finished job; `version` is the extension's."""
    assert isinstance(job.request, Generate) and isinstance(job.summary, Finished)
    mesh, gaussian = job.part("mesh"), job.part("gaussian")
    properties: dict[str, str | int] = {
        "parameters": _parameters(job.request),
        "seed": job.summary.seed,
        "model": job.summary.model,
        "model_hash": job.summary.model_hash,
        "picture_hash": job.summary.picture_hash,
        "version": version,
    }
    return Asset(
        name,
        mesh=mesh.arrays if mesh is not None else None,
        gaussian=gaussian.arrays if gaussian is not None else None,
        properties=properties,
    )


def _parameters(request: Generate) -> str:
    """All that the request asked for, but for the pictures themselves, as JSON."""
    asked = dataclasses.asdict(dataclasses.replace(request, pictures=()))
    del asked["pictures"], asked["job"]
    return json.dumps(asked, sort_keys=True)
