"""From a finished job to the asset that goes into a scene or into files. No bpy here."""

import dataclasses
import json

from ..protocol import Finished, LoadModel, Making, array_field
from ..scene.asset import Asset, StoredLatents
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
        latents=_latents(job, job.summary),
        frame=_frame(job),
    )


def _latents(job: Job, summary: Finished) -> StoredLatents | None:
    """What edits of the asset start from; None where the backend sent only a part of it."""
    structure, voxels, latent = map(job.part, ("structure_latent", "voxels", "structured_latent"))
    if structure is None or voxels is None or latent is None:
        return None
    return StoredLatents(
        {
            "structure_latent": structure.arrays["latent"],
            "occupied": voxels.arrays["occupied"],
            "coords": latent.arrays["coords"],
            "feats": latent.arrays["feats"],
        },
        int(latent.info["resolution"]),
        int(voxels.info["structure_resolution"]),
        summary.model,
        summary.model_hash,
    )


def _frame(job: Job) -> tuple[float, float, float, float]:
    """Scale and offset that take the unit cube into the frame of a mesh that was sent."""
    voxels = job.part("voxels")
    if voxels is None or "scale" not in voxels.info:
        return 1.0, 0.0, 0.0, 0.0
    scale, x, y, z = (float(voxels.info[name]) for name in ("scale", "offset_x", "offset_y", "offset_z"))
    return scale, x, y, z


def _parameters(request: Making) -> str:
    """All that the request asked for, but for its arrays, as JSON."""
    kind: type = type(request)
    held = array_field(kind)
    asked = dataclasses.asdict(dataclasses.replace(request, **{held: type(getattr(request, held))()}))
    del asked[held], asked["job"]
    return json.dumps(asked, sort_keys=True)
