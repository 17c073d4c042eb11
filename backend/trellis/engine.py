"""One request in, results out as they exist; keeps the last pipeline in memory."""

import hashlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch

from backend.checkpoints.model_info import available_model_infos
from backend.device import choose_device, choose_dtype, devices
from backend.errors import UserError
from backend.image.background import remove_background
from backend.image.decode import cut_out, open_picture
from backend.server.interface import FinishedInfo, LoadedInfo, OnProgress, OnResult, ShouldCancel
from backend.trellis.conditioning import Condition
from backend.trellis.outputs import Voxels, describe
from backend.trellis.pipeline import Pipeline
from backend.version import VERSION
from blender_trellis.protocol import PROTOCOL_VERSION, Device, Generate, Hello

OnPart = Callable[[str, Any], None]


class TrellisEngine:
    """Runs requests; keeps the pipeline of the last one so that the next starts warm."""

    def __init__(self) -> None:
        self._pipeline: Pipeline | None = None
        self._key: tuple[str, str, str, str] | None = None

    def hello(self) -> Hello:
        """Versions, devices and the models that lie on this machine."""
        found = tuple(Device(one.name, one.kind, one.memory_bytes) for one in devices())
        versions = (VERSION, platform.python_version(), torch.__version__)
        return Hello(PROTOCOL_VERSION, *versions, devices=found, models=available_model_infos())

    def load(self, model: str, device: str, precision: str, engine: str) -> LoadedInfo:
        """Bring every model of a folder into memory."""
        pipeline = self._open(model, device, precision, engine)
        for role in pipeline.folder.models:
            pipeline.model(role)
        used = str(pipeline.dtype).removeprefix("torch.")
        return LoadedInfo(model, str(pipeline.device), used, pipeline.folder.hash)

    def generate(
        self, request: Generate, on_progress: OnProgress, on_result: OnResult, should_cancel: ShouldCancel
    ) -> FinishedInfo:
        """Make one object, handing on each part's arrays as soon as they exist."""
        return self.make(request, on_progress, lambda kind, part: on_result(kind, *describe(part)))

    def make(self, request: Generate, on_progress: OnProgress, on_part: OnPart) -> FinishedInfo:
        """Make one object; `on_part(kind, part)` gets Voxels, Gaussians, RadianceField, Mesh as they exist.

        Both callbacks may raise to stop, which takes effect within one sampler step.
        """
        _check(request)
        on_progress("load", 0, 1)
        pipeline = self._open(request.model, request.device, request.precision, request.engine)
        on_progress("load", 1, 1)
        files = [bytes(picture.data) for picture in request.pictures]
        condition = _condition(pipeline, request, files, on_progress)
        generator = torch.Generator().manual_seed(request.seed)
        coords = _structure(pipeline, request, condition, generator, on_progress)
        on_part("voxels", Voxels(coords, pipeline.model("slat_flow_model").config.resolution))
        latent = _latent(pipeline, request, condition, coords, generator, on_progress)
        _decode(pipeline, request.formats, coords, latent, on_progress, on_part)
        digest = hashlib.sha256(b"".join(files)).hexdigest() if files else ""
        return FinishedInfo(request.seed, request.model, pipeline.folder.hash, digest)

    def _open(self, model: str, device: str, precision: str, engine: str) -> Pipeline:
        key = (model, device, precision, engine)
        if self._pipeline is None or self._key != key:
            self._pipeline = None  # the old weights go before the new ones come
            chosen = choose_device(device)
            self._pipeline = Pipeline.open(model, chosen, choose_dtype(chosen, precision), engine)
            self._key = key
        return self._pipeline


def _check(request: Generate) -> None:
    if not request.formats:
        raise UserError("No output format was chosen; choose mesh, gaussian or radiance_field.")
    if not 0 <= request.seed < 2**63:
        raise UserError(f"The seed is {request.seed}; choose 0 or a positive whole number below 2^63.")
    if not request.pictures and not request.prompt.strip():
        raise UserError("There is neither a picture nor a prompt; give one of them.")


def _condition(
    pipeline: Pipeline, request: Generate, files: Sequence[bytes], on_progress: OnProgress
) -> Condition:
    on_progress("condition", 0, 1)
    if files:
        names = request.picture_names or tuple(f"picture {n + 1}" for n in range(len(files)))
        opened = [open_picture(data, name) for data, name in zip(files, names, strict=True)]
        pictures = [cut_out(picture, remove_background) for picture in opened]
        condition = pipeline.condition_on_pictures(pictures)
    else:
        condition = pipeline.condition_on_text(request.prompt)
    on_progress("condition", 1, 1)
    return condition


def _structure(
    pipeline: Pipeline,
    request: Generate,
    condition: Condition,
    generator: torch.Generator,
    on_progress: OnProgress,
) -> torch.Tensor:
    """Stage 1: occupied voxels (L, 3)."""
    settings = pipeline.folder.structure_sampler.merged(asdict(request.sparse_structure))
    on_step = _stage(on_progress, "sparse_structure")
    latent = pipeline.sample_structure_latent(condition, settings, generator, 1, request.multi_image, on_step)
    return pipeline.decode_structure(latent)[0]


def _latent(
    pipeline: Pipeline,
    request: Generate,
    condition: Condition,
    coords: torch.Tensor,
    generator: torch.Generator,
    on_progress: OnProgress,
) -> torch.Tensor:
    """Stage 2: the structured latent (L, C)."""
    settings = pipeline.folder.slat_sampler.merged(asdict(request.structured_latent))
    on_step = _stage(on_progress, "structured_latent")
    multi = request.multi_image
    return pipeline.sample_structured_latent(condition, [coords], settings, generator, multi, on_step)[0]


def _stage(on_progress: OnProgress, stage: str) -> Callable[[int, int], None]:
    on_progress(stage, 0, 1)
    return lambda step, steps: on_progress(stage, step, steps)


def _decode(
    pipeline: Pipeline,
    formats: Sequence[str],
    coords: torch.Tensor,
    latent: torch.Tensor,
    on_progress: OnProgress,
    on_part: OnPart,
) -> None:
    """Gaussians first: they are quick, and the mesh is what takes time."""
    decoders = {
        "gaussian": pipeline.decode_gaussians,
        "radiance_field": pipeline.decode_radiance_field,
        "mesh": pipeline.decode_mesh,
    }
    for kind, decode in decoders.items():
        if kind in formats:
            on_progress(f"decode_{kind}", 0, 1)
            on_part(kind, decode(coords, latent))
            on_progress(f"decode_{kind}", 1, 1)
