"""The order in which an object is made (arXiv 2412.01506 section 3), as a generator of steps and outputs.

    guide -> condition -> structure latent -> voxels -> structured latent -> Gaussians, radiance field, mesh

Every random number comes from the one CPU generator that is given, in the published order.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor

from backend.checkpoints.model_info import nothing_found
from backend.errors import UserError
from backend.lifting.solid import SolidGuess
from backend.trellis.conditioning import Condition
from backend.trellis.decoding import (
    ROLES,
    STAGES,
    EmptyStructure,
    Report,
    StructuredLatent,
    Voxels,
    decode,
    decode_structure,
    silent,
)
from backend.trellis.networks import Networks
from backend.trellis.stages import (
    Output,
    Settings,
    Step,
    sample_latents,
    sample_structure,
    structure_noise,
)

Guide = Iterable[Image.Image] | str | Condition
"""What the object should be: cut-out pictures of it, a sentence, or a condition that was made before."""


@torch.inference_mode()
def generate(
    networks: Networks,
    guide: Guide,
    settings: Settings,
    generator: torch.Generator,
    voxels: Sequence[Voxels] | None = None,
    report: Report = silent,
    structure: Tensor | None = None,
) -> Iterator[Step | Output]:
    """All steps and outputs of making an object; with `voxels`, one for each sample, its shape is given.

    structure (1, C, r, r, r): what stage 1 has sampled of this seed before, to go on from.
    Between them `report` tells how far a long computation is, and may raise to stop. Raises EmptyStructure
    where no voxel is occupied, and UserError where the model lacks what is asked for.
    """
    yield Step("condition", 0, 1)
    condition = condition_on(networks, guide, generator.initial_seed())
    yield Step("condition", 1, 1)
    if voxels is None:
        if structure is None:
            sampled = yield from sample_structure(networks, condition, settings, generator, report)
        else:
            structure_noise(networks, settings.samples, generator)  # stage 2 gets what is drawn after it
            sampled = [structure.to(networks.device)]
        voxels = yield from _voxels(networks, sampled, report, condition.solid)
    coords = [one.coords for one in voxels]
    solids = [one.solid for one in voxels]
    mean, std = normalization(networks)
    sampled = yield from sample_latents(
        networks, condition, coords, settings, generator, report, solids=solids
    )
    latents = [
        StructuredLatent(one.coords, x * std + mean, one.resolution, outline=one.outline)
        for one, x in zip(voxels, sampled, strict=True)
    ]
    for sample, latent in enumerate(latents):
        yield Output("structured_latent", latent, sample)
    for sample, latent in enumerate(latents):
        yield from _decode(networks, latent, settings, sample, report)


def condition_on(networks: Networks, guide: Guide, seed: int = 0) -> Condition:
    """The condition of the flows that a guide stands for; seed: of what a sentence leaves open."""
    if isinstance(guide, Condition):
        return guide
    networks.begin("condition")
    if isinstance(guide, str):
        return networks.conditioner.from_text(guide, seed)
    return networks.conditioner.from_pictures(list(guide))


def normalization(networks: Networks) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C,) of the structured latent."""
    mean, std = (torch.tensor(v, device=networks.device) for v in networks.folder.slat_normalization)
    channels = networks.config("slat_flow_model").in_channels
    if len(mean) != channels:
        raise UserError(
            f"The model {networks.folder.name} has {len(mean)} numbers in slat_normalization for latents of"
            f" {channels}; download the model again."
        )
    return mean, std


def _voxels(
    networks: Networks, latents: Sequence[Tensor], report: Report, solid: SolidGuess | None
) -> Generator[Step | Output, None, list[Voxels]]:
    for sample, latent in enumerate(latents):
        yield Output("structure_latent", latent, sample)
    yield Step("decode_sparse_structure", 0, 1)
    voxels = [decode_structure(networks, latent, report, solid) for latent in latents]
    if any(len(one.coords) == 0 for one in voxels):
        raise EmptyStructure(nothing_found(networks.folder))
    for sample, one in enumerate(voxels):
        yield Output("voxels", one, sample)
    return voxels


def _decode(
    networks: Networks, latent: StructuredLatent, settings: Settings, sample: int, report: Report
) -> Iterator[Step | Output]:
    for kind in ROLES:
        if kind in settings.formats:
            yield Step(STAGES[kind], 0, 1, sample)
            yield Output(kind, decode(networks, kind, latent, report, settings.close_border), sample)
            yield Step(STAGES[kind], 1, 1, sample)
