"""Makes variants of an asset: its voxels are kept and their look is sampled anew, or its shape too."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from backend.trellis.asset import AssetLatents
from backend.trellis.decoding import Report, Voxels, silent
from backend.trellis.generate import Guide, condition_on, generate, normalization
from backend.trellis.networks import Networks
from backend.trellis.stages import Output, Settings, Step


def vary(
    networks: Networks,
    asset: AssetLatents,
    guide: Guide,
    settings: Settings,
    seed: int,
    shape: bool = False,
    report: Report = silent,
) -> Iterator[Step | Output]:
    """All steps and outputs of a variant, of the same kinds as `generate`.

    Below full strength, sampling starts from the asset's own latents: small strengths touch it, 1 invents.
    With `shape` the structure is varied too. guide: what the asset should be, such as its own picture.
    """
    asset = asset.to(networks.device)
    condition = replace(
        condition_on(networks, guide),
        structure_start=asset.structure_latent,
        latent_start=_grid(asset, *normalization(networks)),
    )
    voxels = None
    if not shape:
        voxels = [Voxels(asset.coords, asset.resolution, asset.occupied)]
        yield Output("structure_latent", asset.structure_latent)
        yield Output("voxels", voxels[0])
    generator = torch.Generator().manual_seed(seed)
    yield from generate(networks, condition, settings, generator, voxels, report)


def _grid(asset: AssetLatents, mean: Tensor, std: Tensor) -> Tensor:
    """The normalised latents as a grid (1, C, S, S, S), 0 where there is no voxel."""
    grid = asset.feats.new_zeros(1, asset.feats.shape[1], *(asset.resolution,) * 3)
    x, y, z = asset.coords.long().unbind(1)
    grid[0, :, x, y, z] = ((asset.feats - mean) / std).T
    return grid
