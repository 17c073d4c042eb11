"""From an asset's latents and a region to the request that changes it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..backend_settings import BackendSettings
from ..jobs.sent_arrays import sent, sent_pictures
from ..picture_source import Picture
from ..protocol import Background, Edit, EditMode, Format, SamplingParams
from ..scene.asset import StoredLatents
from .region_mask import ClosedMesh, RegionShape, check_count


@dataclass(frozen=True)
class Guide:
    """What the whole object should look like: pictures, or a sentence; neither where voxels are removed."""

    pictures: tuple[Picture, ...] = ()
    prompt: str = ""
    background: Background = "auto"  # how that of the pictures goes


@dataclass(frozen=True)
class EditChoices:
    """What the artist chose; None: as the model recommends."""

    mode: EditMode
    seed: int
    refines: bool  # whether sampling starts from what is there
    strength: float | None
    margin: int
    growth: int
    jumps: int


def edit_request(
    latents: StoredLatents,
    shape: RegionShape,
    guide: Guide,
    choices: EditChoices,
    formats: Sequence[Format],
    backend: BackendSettings,
) -> Edit:
    """The message; who sends it names the job. Fault where the region has too many parts."""
    check_count(len(shape.boxes), len(shape.meshes))
    sampling = SamplingParams(strength=choices.strength)
    arrays = dict(latents.arrays) | _meshes(shape.meshes)
    pictures = sent_pictures(one.data for one in guide.pictures)
    return Edit(
        job="",
        model=latents.model,
        device=backend.device,
        precision=backend.precision,
        engine=backend.engine,
        memory=backend.memory,
        picture_names=tuple(one.name for one in guide.pictures),
        background=guide.background,
        prompt=guide.prompt,
        seed=choices.seed,
        sparse_structure=sampling,
        structured_latent=sampling,
        formats=tuple(formats),
        arrays=sent(arrays) | pictures,
        resolution=latents.resolution,
        structure_resolution=latents.structure_resolution,
        model_hash=latents.model_hash,
        mode=choices.mode,
        boxes=tuple(tuple(map(float, matrix.ravel())) for matrix in shape.boxes),
        start="asset" if choices.refines else "guide",
        margin=choices.margin,
        growth=choices.growth,
        jumps=choices.jumps,
    )


def _meshes(meshes: Sequence[ClosedMesh]) -> dict[str, np.ndarray]:
    named = {}
    for number, mesh in enumerate(meshes):
        named[f"region_{number}_vertices"] = mesh.vertices.astype(np.float32)
        named[f"region_{number}_faces"] = mesh.faces.astype(np.int32)
    return named
