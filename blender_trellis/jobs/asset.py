"""From a finished job to the asset that goes into a scene or into files. No bpy here."""

import dataclasses
import json

from ..protocol import Finished, LoadModel, Making, array_field
from ..scene.asset import Asset
from .job import Job


def asset_of(job: Job, name: str, version: str) -> Asset:
    """The asset of a finished job; `version` is the extension's."""
    assert not isinstance(job.request, LoadModel) and isinstance(job.summary, Finished)
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


def _parameters(request: Making) -> str:
    """All that the request asked for, but for its arrays, as JSON."""
    kind: type = type(request)
    held = array_field(kind)
    asked = dataclasses.asdict(dataclasses.replace(request, **{held: type(getattr(request, held))()}))
    del asked[held], asked["job"]
    return json.dumps(asked, sort_keys=True)
