"""From a finished job to the asset that goes into a scene or into files. No bpy here."""

import dataclasses
import hashlib
import json

import numpy as np

from ..meshes.image_tiles import tile, tiles_across
from ..png import png_of
from ..protocol import Array, Complete, Edit, Encode, Finished, LoadModel, Making, array_field
from ..scene.asset import Asset, Change, StoredLatents, fingerprint
from .candidates import as_generate
from .job import Job
from .request_store import pack_request
from .results import Part


def asset_of(job: Job, name: str, version: str, keep_pictures: bool = True, history: str = "") -> Asset:
    """The asset of a finished job; `version` is the extension's, `history` that of the asset it began with.

    Pictures go along unless told otherwise, so that the same can be made again.
    """
    if isinstance(job.request, Complete):
        job = dataclasses.replace(job, request=as_generate(job.request))
    assert not isinstance(job.request, LoadModel) and isinstance(job.summary, Finished)
    mesh, gaussian, finished = map(job.part, ("mesh", "gaussian", "finished_mesh"))
    pictures = _pictures(job.request)
    step = _step(job.request, job.summary, version)
    properties: dict[str, str | int] = {
        "parameters": _parameters(job.request),
        "seed": job.summary.seed,
        "model": job.summary.model,
        "model_hash": job.summary.model_hash,
        "picture_hash": job.summary.picture_hash,
        "picture_hashes": json.dumps(step["picture_hashes"]),
        "history": json.dumps([*json.loads(history or "[]"), step], sort_keys=True),
        "version": version,
    }
    return Asset(
        name,
        mesh=mesh.arrays if mesh is not None else None,
        finished=finished.arrays if finished is not None else None,
        surface=surface_of(finished),
        finish_report=str(finished.info.get("report", "")) if finished is not None else "",
        texture=texture_of(finished),
        gaussian=gaussian.arrays if gaussian is not None else None,
        properties=properties,
        latents=_latents(job, job.summary),
        change=_change(job.request),
        pictures=pictures if keep_pictures else (),
        request=pack_request(job.request),
        frame=frame_of(job.part("voxels")),
    )


def texture_of(textured: Part | None) -> bytes:
    """The texture as a picture file; b"" where there is none."""
    return b"".join(textures_of(textured, 1))


def textures_of(textured: Part | None, objects: int) -> tuple[bytes, ...]:
    """As picture files the tiles that several objects have of one texture; empty where there is none."""
    if textured is None or "texture" not in textured.arrays:
        return ()
    side = tiles_across(objects)
    return tuple(png_of(tile(textured.arrays["texture"], n, side)) for n in range(objects))


def surface_of(textured: Part | None) -> tuple[float, float]:
    """Roughness and metallic of what has a texture."""
    if textured is None or "roughness" not in textured.info:
        return Asset.surface
    return float(textured.info["roughness"]), float(textured.info["metallic"])


def _latents(job: Job, summary: Finished) -> StoredLatents | None:
    """What edits of the asset start from; None where the backend sent only a part of it."""
    structure, voxels, latent = map(job.part, ("structure_latent", "voxels", "structured_latent"))
    if structure is None or voxels is None or latent is None:
        return None
    return StoredLatents(
        {
            "structure_latent": structure.arrays["latent"],
            "occupied": voxels.arrays["occupied"],
            **latent.arrays,
        },
        int(latent.info["resolution"]),
        int(voxels.info["structure_resolution"]),
        summary.model,
        summary.model_hash,
    )


def frame_of(voxels: Part | None) -> tuple[float, float, float, float]:
    """Scale and offset that take the unit cube into the frame of a mesh that was sent."""
    if voxels is None or "scale" not in voxels.info:
        return 1.0, 0.0, 0.0, 0.0
    scale, x, y, z = (float(voxels.info[name]) for name in ("scale", "offset_x", "offset_y", "offset_z"))
    return scale, x, y, z


def _parameters(request: Making) -> str:
    """All that the request asked for, but for its arrays, as JSON."""
    return json.dumps(_settings(request), sort_keys=True)


def _settings(request: Making) -> dict[str, object]:
    kind: type = type(request)
    held = array_field(kind)
    asked = dataclasses.asdict(dataclasses.replace(request, **{held: type(getattr(request, held))()}))
    del asked[held], asked["job"]
    return asked


def _step(request: Making, summary: Finished, version: str) -> dict[str, object]:
    """One entry of an asset's history: what was done, where, by which pictures and words, and with what."""
    settings = _settings(request)
    meshes = len(request.meshes) if isinstance(request, Edit) else 0
    return {
        "mode": settings.pop("mode", type(request).__name__.lower()),
        "regions": {"boxes": settings.pop("boxes", ()), "meshes": meshes},
        "picture_names": settings.pop("picture_names", ()),
        "picture_hashes": [hashlib.sha256(data).hexdigest() for _, data in _pictures(request)],
        "prompt": settings.pop("prompt", ""),
        "seed": settings.pop("seed", summary.seed),
        "settings": settings | {"model": summary.model, "model_hash": summary.model_hash},
        "version": version,
    }


def _pictures(request: Making) -> tuple[tuple[str, bytes], ...]:
    """Name and file of each of the request's pictures."""
    if isinstance(request, Encode):
        return ()
    names = [*request.picture_names, *(f"picture {number}" for number in range(len(request.pictures)))]
    files = (bytes(picture.data) for picture in request.pictures)
    return tuple(
        (name.encode("utf-8", "replace").decode(), data) for name, data in zip(names, files, strict=False)
    )


def _change(request: Making) -> Change | None:
    if not isinstance(request, Edit):
        return None
    latents = {name: request.arrays.get(name) for name in ("coords", "feats", "occupied", "structure_latent")}
    known = {name: _values(array) for name, array in latents.items() if array is not None}
    return Change(request.mode, fingerprint(known) if len(known) == len(latents) else "")


def _values(array: Array) -> np.ndarray:
    return np.frombuffer(array.data, f"<{array.dtype}")
