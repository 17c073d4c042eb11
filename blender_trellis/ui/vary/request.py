"""From what is selected and set to the requests that vary it, or make it editable."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import bpy
import numpy as np

from ...backend_settings import BackendSettings
from ...editing.edit_request import Guide
from ...editing.region_objects import asset_of, is_region
from ...jobs.sent_arrays import sent, sent_pictures
from ...meshes.image_tiles import in_tiles
from ...meshes.source import MeshSource, has_surface
from ...protocol import Encode, Format, SamplingParams, Vary
from ...scene.asset import StoredLatents


@dataclass(frozen=True)
class Start:
    """What variants start from: the latents of an asset, or a mesh, and the model that varies it."""

    arrays: Mapping[str, np.ndarray]
    model: str
    resolution: int = 0
    structure_resolution: int = 0
    model_hash: str = ""


def start_of_asset(latents: StoredLatents) -> Start:
    """Of an asset: only the model that made it understands its latents."""
    return Start(
        latents.arrays, latents.model, latents.resolution, latents.structure_resolution, latents.model_hash
    )


def start_of_mesh(source: MeshSource, model: str) -> Start:
    """Of a mesh, which any model with encoders takes."""
    return Start(source.arrays, model)


def with_coordinates(start: Start, source: MeshSource, side: int) -> Start:
    """With the mesh's texture coordinates, each object's in its own of side² tiles of an image."""
    assert source.uv is not None, "an image needs coordinates"
    uv = in_tiles(source.uv, source.owners[source.faces[:, 0]], side)
    return replace(start, arrays={**start.arrays, "uv": uv})


@dataclass(frozen=True)
class Selected:
    """The asset that is selected, or else the objects with surfaces; neither where nothing fits."""

    asset: bpy.types.Collection | None
    objects: tuple[bpy.types.Object, ...]

    @property
    def name(self) -> str:
        """What variants are called after."""
        return self.asset.name if self.asset is not None else self.objects[0].name


def selected(context: bpy.types.Context) -> Selected:
    """The active object's asset goes first; regions of assets are nothing to vary."""
    if context.scene is None:
        return Selected(None, ())
    active = context.object
    asset = asset_of(active, context.scene) if active is not None and active.select_get() else None
    if asset is not None:
        return Selected(asset, ())
    chosen = [
        item
        for item in context.selected_objects
        if has_surface(item) and not is_region(item) and asset_of(item, context.scene) is None
    ]
    chosen.sort(key=lambda item: item != active)
    return Selected(None, tuple(chosen))


def vary_request(
    start: Start,
    guide: Guide,
    seed: int,
    strength: float | None,
    shape: bool,
    formats: tuple[Format, ...],
    backend: BackendSettings,
    onto_mesh: bool = False,
) -> Vary:
    """The message; who sends it names the job."""
    sampling = SamplingParams(strength=strength)
    pictures = sent_pictures(one.data for one in guide.pictures)
    return Vary(
        job="",
        model=start.model,
        device=backend.device,
        precision=backend.precision,
        engine=backend.engine,
        memory=backend.memory,
        picture_names=tuple(one.name for one in guide.pictures),
        background=guide.background,
        prompt=guide.prompt,
        seed=seed,
        sparse_structure=sampling,
        structured_latent=sampling,
        formats=formats,
        arrays=sent(start.arrays) | pictures,
        resolution=start.resolution,
        structure_resolution=start.structure_resolution,
        model_hash=start.model_hash,
        shape=shape,
        onto="mesh" if onto_mesh else "asset",
    )


def encode_request(
    source: MeshSource, model: str, formats: tuple[Format, ...], backend: BackendSettings
) -> Encode:
    """The message that makes an asset of a mesh."""
    return Encode(
        job="",
        model=model,
        device=backend.device,
        precision=backend.precision,
        engine=backend.engine,
        memory=backend.memory,
        arrays=sent(source.arrays),
        formats=formats,
    )
