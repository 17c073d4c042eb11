"""What a batch asks the backend for, made of what it was asked for itself."""

import hashlib
import json
from dataclasses import dataclass, fields, replace
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from ..faults import Fault
from ..jobs.sent_arrays import sent
from ..meshes.source import MeshSource
from ..picture_source import read_picture
from ..protocol import Array, Edit, Generate, Sampled, SamplingParams, Vary, array_field, arrays_of
from ..protocol.fields import to_json
from .asset_file import read_asset
from .latents_file import SUFFIX, matrix_of
from .plan import name_for
from .region_file import region_of
from .work import Work

Request = Generate | Vary | Edit


@dataclass(frozen=True)
class Asked:
    """A request; where it starts from a mesh, or latents of one, the matrix (4, 4) that takes that into the
    world."""

    request: Request
    matrix: np.ndarray | None = None


def request_for(work: Work, template: Generate, folder: Path) -> Asked:
    """The message that asks for an object, with what the template says of all of them. Raises Fault.

    `folder`: where the objects lie that the batch made before.
    """
    pictures = [read_picture(path) for path in work.pictures]
    files = [Array("u1", (len(picture.data),), picture.data) for picture in pictures]
    common = _common(work, template) | {"picture_names": tuple(picture.name for picture in pictures)}
    if work.do == "generate":
        return Asked(Generate(**common, pictures=tuple(files)))
    said, matrix = _asset(work, folder)
    said["arrays"] |= {f"picture_{number}": data for number, data in enumerate(files)}
    said = common | said
    return Asked(Vary(**said, shape=work.shape) if work.do == "vary" else _edit(work, said), matrix)


def not_made(name: str) -> Fault:
    """What is told of an object that was to be made of another one."""
    return Fault(f'"{name}" was not made, from which this was to be made: see why in its own line.')


def request_hash(request: Request, *others: object) -> str:
    """Equal for what is asked for in the same way, on whatever machine; `others` count too."""
    model = PureWindowsPath(request.model)  # which takes / too
    if model.root or model.drive:
        request = replace(request, model=model.name)  # a folder, which lies elsewhere on other machines
    said = to_json(replace(request, device="auto", memory="auto"))
    kind: type = type(request)
    for name in ("job", array_field(kind)):
        said.pop(name, None)
    asked = json.dumps([type(request).__name__, said, *others], sort_keys=True)
    digest = hashlib.sha256(asked.encode())
    for name, array in sorted(arrays_of(request).items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _common(work: Work, template: Generate) -> dict[str, Any]:
    """The fields of every request, by name."""
    common = {one.name: getattr(template, one.name) for one in fields(Sampled)}

    def sampling(stage: SamplingParams) -> SamplingParams:
        return replace(
            stage,
            steps=stage.steps if work.steps is None else work.steps,
            cfg_strength=stage.cfg_strength if work.guidance is None else work.guidance,
            strength=work.strength,
        )

    return common | {
        "model": work.model or template.model,
        "prompt": work.prompt,
        "background": work.background or template.background,
        "seed": template.seed if work.seed is None else work.seed,
        "sparse_structure": sampling(template.sparse_structure),
        "structured_latent": sampling(template.structured_latent),
        "formats": work.formats or template.formats,
    }


def _edit(work: Work, said: dict[str, Any]) -> Edit:
    assert work.region is not None, "files of jobs are refused without one"
    region = region_of(work.region)
    for number, (vertices, faces) in enumerate(region.meshes):
        named = {f"region_{number}_vertices": vertices, f"region_{number}_faces": faces}
        said["arrays"] |= sent(named)
    counts = {name: getattr(work, name) for name in ("margin", "growth", "jumps")}
    counts = {name: count for name, count in counts.items() if count is not None}
    return Edit(**said, **counts, boxes=region.boxes, mode=work.mode, start=work.start)


def _asset(work: Work, folder: Path) -> tuple[dict[str, Any], np.ndarray | None]:
    """What a request says of the asset that it starts from, and where that stands, if not as made."""
    path = work.asset or folder / (name_for(folder, work.of) + SUFFIX)
    if work.of and not path.exists():
        raise not_made(work.of)
    asset = read_asset(path)
    if isinstance(asset, MeshSource):
        return {"arrays": sent(asset.arrays)}, asset.matrix
    said = {
        "arrays": sent(asset.arrays),
        "resolution": asset.resolution,
        "structure_resolution": asset.structure_resolution,
        "model_hash": asset.model_hash,
    }
    return said if work.model else said | {"model": asset.model}, matrix_of(path)
