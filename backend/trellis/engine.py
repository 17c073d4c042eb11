"""One request in, results out as they exist; keeps the networks of the last one in memory."""

import hashlib
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace

import numpy as np
import torch
from PIL import Image

from backend.background.choice import cut_out_as
from backend.checkpoints.model_folder import ModelFolder
from backend.checkpoints.model_info import available_model_infos, polishes
from backend.encoding.latent_encoders import is_view_aligned
from backend.errors import UserError
from backend.image import open_picture
from backend.image.crop import PICTURE_SIZE
from backend.machine.device import choose_device, choose_dtype, devices
from backend.representations.gaussians import Gaussians
from backend.representations.mesh import Mesh, TexturedMesh
from backend.sampling import SamplerSettings
from backend.server.interface import FinishedInfo, LoadedInfo, OnProgress, OnResult
from backend.trellis.decoding import Report, estimated_voxels
from backend.trellis.edit import EditSettings, edit
from backend.trellis.editing.region import check_edit
from backend.trellis.encode import Frame, decode_asset
from backend.trellis.finish import (
    finish_settings,
    finished,
    received,
    received_texture,
    textured,
    with_finished,
)
from backend.trellis.generate import Guide, generate
from backend.trellis.networks import Networks
from backend.trellis.outputs import describe_output
from backend.trellis.preflight.check import require_memory
from backend.trellis.received import asset_of, encoded, region_of, structure_of, values_of
from backend.trellis.residency import Residency, free_bytes, stages_for
from backend.trellis.stages import Output, Settings, Step
from backend.trellis.vary import onto_mesh, vary
from backend.version import VERSION
from blender_trellis.protocol import (
    PROTOCOL_VERSION,
    Complete,
    Device,
    Edit,
    Encode,
    Finish,
    Generate,
    Hello,
    Making,
    Sampled,
    Vary,
)

PREVIEW_SHARE = 0.1
PREVIEW_BYTES = 1 << 30
TEXTURE_PICTURE = 1024
"""Pixels a side of the pictures that textures are made of."""
_LOOK_STEPS = 6  # at least, of a look that begins with pure noise

OnOutput = Callable[[Output], None]


class TrellisEngine:
    """Runs requests; keeps the networks of the last one so that the next starts warm."""

    def __init__(self) -> None:
        self._networks: Networks | None = None
        self._key: tuple[str, str, str, str] | None = None

    def hello(self) -> Hello:
        """Versions, devices and the models that lie on this machine."""
        found = tuple(Device(one.name, one.kind, one.memory_bytes) for one in devices())
        versions = (VERSION, platform.python_version(), torch.__version__)
        return Hello(PROTOCOL_VERSION, *versions, devices=found, models=available_model_infos())

    def load(self, model: str, device: str, precision: str, engine: str) -> LoadedInfo:
        """Bring what a request of the default formats needs into memory."""
        networks = self._open(model, device, precision, engine)
        for stage in stages_for(Generate("").formats):
            networks.begin(stage)
        used = str(networks.dtype).removeprefix("torch.")
        return LoadedInfo(model, str(networks.device), used, networks.folder.hash)

    def run(self, request: Making, on_progress: OnProgress, on_result: OnResult) -> FinishedInfo:
        """Make or change one object, handing on each output's arrays as soon as they exist."""
        return self.make(
            request, on_progress, lambda output: on_result(output.kind, *describe_output(output))
        )

    def make(self, request: Making, on_progress: OnProgress, on_output: OnOutput) -> FinishedInfo:
        """Make or change one object; `on_output` gets each output as it exists.

        Both callbacks may raise to stop; `on_progress` is called at least once a layer of a network.
        """
        _check(request)
        on_progress("load", 0, 1)
        networks = self._open(request.model, request.device, request.precision, request.engine)
        networks.residency = Residency(networks.device, request.memory)
        if isinstance(request, Sampled):
            require_memory(networks, request.formats)
        on_progress("load", 1, 1)
        files = [] if isinstance(request, Encode) else [bytes(picture.data) for picture in request.pictures]
        events = _finished(networks, request, files, on_progress)
        for event in events:
            if isinstance(event, Output):
                on_output(event)
            else:
                on_progress(event.stage, event.step, event.steps)
        digest = hashlib.sha256(b"".join(files)).hexdigest() if files else ""
        seed = request.seed if isinstance(request, Sampled) else 0
        return FinishedInfo(seed, request.model, networks.folder.hash, digest)

    def _open(self, model: str, device: str, precision: str, engine: str) -> Networks:
        key = (model, device, precision, engine)
        if self._networks is None or self._key != key:
            self._networks = None  # the old weights go before the new ones come
            chosen = choose_device(device)
            self._networks = Networks.open(model, chosen, choose_dtype(chosen, precision), engine)
            self._key = key
        return self._networks


def _finished(
    networks: Networks, request: Making, files: Sequence[bytes], report: Report
) -> Iterator[Step | Output]:
    """What the request makes, and its mesh finished; only pictures of the whole object go onto a texture."""
    pictures = (
        _pictures(request, files, TEXTURE_PICTURE)
        if isinstance(request, Generate | Complete | Finish)
        else iter(())
    )
    aligned = _is_aligned(networks, request, files)
    if isinstance(request, Finish):
        mesh, gaussians = received(request)
        return iter((finished(mesh, gaussians, request.finishing, pictures, aligned, report),))
    events = _events(networks, request, files, report)
    if isinstance(request, Sampled) and request.preview:
        events = _with_previews(events, networks)
    before = received_texture(request) if isinstance(request, Edit) and request.finishing.texture else None
    return with_finished(events, request.finishing, pictures, aligned, report, before)


def _is_aligned(networks: Networks, request: Making, files: Sequence[bytes]) -> bool:
    """Whether the object stands as its picture shows it. Asked of the latent encoder, which nothing but a
    picture on a texture needs here.
    """
    return bool(files) and request.finishing.texture > 0 and is_view_aligned(networks.folder)


def _events(
    networks: Networks, request: Sampled | Encode, files: Sequence[bytes], report: Report
) -> Iterator[Step | Output]:
    """How the request is carried out."""
    if isinstance(request, Encode):
        asset, frame = encoded(request, networks, report)
        return _placed(decode_asset(networks, asset, request.formats, report), frame)
    guide = _pictures(request, files) if files else request.prompt
    settings = _settings(networks.folder, request)
    random = torch.Generator().manual_seed(request.seed)
    if isinstance(request, Generate):
        events = generate(networks, guide, settings, random, report=report)
        return _until_voxels(events) if request.structure_only else events
    if isinstance(request, Complete):
        structure = structure_of(request, networks)
        return generate(networks, guide, settings, random, report=report, structure=structure)
    if isinstance(request, Vary):
        return _varied(networks, request, guide, settings, files, report)
    return _edited(networks, request, guide, settings, report)


def _until_voxels(events: Iterator[Step | Output]) -> Iterator[Step | Output]:
    """The same, up to the voxels."""
    for event in events:
        yield event
        if isinstance(event, Output) and event.kind == "voxels":
            return


def _with_previews(events: Iterator[Step | Output], networks: Networks) -> Iterator[Step | Output]:
    """The same, with the voxels of the estimate after steps of the first stage, for a tenth of their time."""
    began, spent = time.monotonic(), 0.0
    for event in events:
        yield event
        if not isinstance(event, Step) or event.stage != "sparse_structure" or event.x0 is None:
            continue
        now = time.monotonic()
        if event.step == event.steps or spent > PREVIEW_SHARE * (now - began) or not _has_room(networks):
            continue
        preview = estimated_voxels(networks, event.x0, event.solid)
        spent += time.monotonic() - now
        if len(preview.coords):
            yield Output("preview", preview)


def _has_room(networks: Networks) -> bool:
    """Whether the structure's decoder may lie on the device beside the flow."""
    residency = networks.residency
    return residency.device.type == "cpu" or (
        residency.setting != "release" and free_bytes(residency.device) > PREVIEW_BYTES
    )


def _varied(
    networks: Networks,
    request: Vary,
    guide: Guide,
    settings: Settings,
    files: Sequence[bytes],
    report: Report,
) -> Iterator[Step | Output]:
    asset, frame = asset_of(request, networks, report)
    if request.onto == "asset":
        events = vary(networks, asset, guide, settings, request.seed, request.shape, report)
        yield from _placed(events, frame)
        return
    if frame is None or request.shape:
        raise UserError(
            "Colours can only be brought onto a mesh that was sent and keeps its shape; send one."
        )
    bake = None
    if request.finishing.texture and "uv" in request.arrays:
        uv = values_of(request.arrays["uv"])

        def bake(mesh: Mesh, gaussians: Gaussians | None) -> TexturedMesh:
            pictures = _pictures(request, files, TEXTURE_PICTURE)
            aligned = _is_aligned(networks, request, files)
            return textured(mesh, gaussians, request.finishing, pictures, aligned, report, uv=uv)

    settings = replace(settings, formats=("mesh",) if bake is None else ("mesh", "gaussian"))
    events = vary(networks, asset, guide, settings, request.seed, report=report)
    vertices, faces = (values_of(request.arrays[name]) for name in ("vertices", "faces"))
    yield from onto_mesh(events, frame.to_unit(vertices.astype(np.float64)), faces, bake)


def _edited(
    networks: Networks, request: Edit, guide: Guide, settings: Settings, report: Report
) -> Iterator[Step | Output]:
    region = region_of(request)
    asset, frame = asset_of(request, networks, report)
    check_edit(region, asset, request.mode, settings)
    chosen = EditSettings(
        settings, request.mode, request.seed, request.start, request.margin, request.growth, request.jumps
    )
    guide_or_none = None if request.mode == "remove" else guide
    yield from _placed(edit(networks, asset, guide_or_none, region, chosen, report), frame)


def _placed(events: Iterator[Step | Output], frame: Frame | None) -> Iterator[Step | Output]:
    """The same, with where the unit cube lies told with the voxels."""
    for event in events:
        if frame is not None and isinstance(event, Output) and event.kind == "voxels":
            x, y, z = frame.offset
            event = replace(event, about={"scale": frame.scale, "offset_x": x, "offset_y": y, "offset_z": z})
        yield event


def _check(request: Making) -> None:
    finish_settings(request.finishing)
    if isinstance(request, Finish):
        return
    if not request.formats:
        raise UserError("No output format was chosen; choose mesh, gaussian or radiance_field.")
    if isinstance(request, Encode):
        return
    if not 0 <= request.seed < 2**63:
        raise UserError(f"The seed is {request.seed}; choose 0 or a positive whole number below 2^63.")
    if isinstance(request, Edit) and request.mode == "remove":
        return  # which needs no guide
    if not request.pictures and not request.prompt.strip():
        raise UserError("There is neither a picture nor a prompt; give one of them.")


def latent_sampler(folder: ModelFolder, another_look: bool) -> SamplerSettings:
    """The model's own settings of stage 2; another_look: the shape stays, and only the look is made."""
    if not another_look or polishes(folder):
        return folder.slat_sampler
    # A model that samples so little for an object from its picture would give the same look again.
    return replace(folder.slat_sampler, strength=1.0, steps=max(folder.slat_sampler.steps, _LOOK_STEPS))


def _settings(folder: ModelFolder, request: Sampled) -> Settings:
    latent = latent_sampler(folder, _asks_for_another_look(request))
    return Settings(
        folder.structure_sampler.merged(asdict(request.sparse_structure)),
        latent.merged(asdict(request.structured_latent)),
        request.formats,
        multi_picture=request.multi_image,
    )


def _asks_for_another_look(request: Sampled) -> bool:
    """Whether the shape stays and only the look is to be made."""
    if isinstance(request, Vary):
        return not request.shape
    return isinstance(request, Edit) and request.mode == "look"


def _pictures(
    request: Sampled | Finish, files: Sequence[bytes], size: int = PICTURE_SIZE
) -> Iterator[Image.Image]:
    """The object of each picture, cut out when it is asked for."""
    names = request.picture_names or tuple(f"picture {n + 1}" for n in range(len(files)))
    for data, name in zip(files, names, strict=True):
        yield cut_out_as(request.background, open_picture(data, name), size)
