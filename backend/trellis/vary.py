"""Makes variants of an asset: its voxels are kept and their look is sampled anew, or its shape too."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from backend.geometry.nearest_colors import carried_colors, normals_of
from backend.geometry.region import Box, Region
from backend.lifting.solid import SolidGuess
from backend.representations.gaussians import Gaussians
from backend.representations.mesh import Mesh, TexturedMesh, VertexColors
from backend.trellis.asset import AssetLatents
from backend.trellis.conditioning import Condition
from backend.trellis.decoding import Report, Voxels, decode_structure, silent
from backend.trellis.edit import EditSettings, edit, shaped_as
from backend.trellis.editing.region import masks_of
from backend.trellis.editing.resampling import ALIGNED, new_shape
from backend.trellis.editing.settings import Change
from backend.trellis.generate import Guide, condition_on, generate, normalization
from backend.trellis.networks import Networks
from backend.trellis.stages import Output, Settings, Step

_EVERYTHING = Region((Box(np.diag([0.51, 0.51, 0.51, 1.0])),))


@torch.inference_mode()
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
    With `shape` the structure is varied too. guide: what the asset should be, as its own picture. Of a model
    that predicts the object from the guide only the shape starts from the asset's own: the look starts from
    its prediction, on the asset's geometry or with `shape` on that of the variant.
    """
    condition = condition_on(networks, guide, seed)
    if not shape and condition.predicts:
        # The prediction's latents hold a shape of their own, which would shred on the asset's voxels.
        chosen = EditSettings(settings, "look", seed)
        for event in edit(networks, asset, condition, _EVERYTHING, chosen, report):
            yield replace(event, kept=None) if isinstance(event, Output) else event
        return
    asset = asset.to(networks.device)
    if condition.solid is not None and not _is_of_guide(networks, asset, condition.solid, report):
        yield from _shape_of_solid(networks, asset, condition, settings, seed, report)
        return
    if condition.solid is not None:
        condition = replace(condition, structure_start=asset.structure_latent)
    else:
        condition = _from_asset(condition, asset, *normalization(networks))
    voxels = None
    if not shape:
        voxels = [Voxels(asset.coords, asset.resolution, asset.occupied)]
        yield Output("structure_latent", asset.structure_latent)
        yield Output("voxels", voxels[0])
    generator = torch.Generator().manual_seed(seed)
    yield from generate(networks, condition, settings, generator, voxels, report)


def _is_of_guide(networks: Networks, asset: AssetLatents, solid: SolidGuess, report: Report) -> bool:
    """Whether an asset is as the guide's solid makes it; one of which a part was removed has no outline."""
    if (asset.outline is None) != (solid.outline is None):
        return False
    found = decode_structure(networks, asset.structure_latent, report, solid).occupied
    return bool((found & asset.occupied).sum() >= ALIGNED * (found | asset.occupied).sum())


def _shape_of_solid(
    networks: Networks,
    asset: AssetLatents,
    condition: Condition,
    settings: Settings,
    seed: int,
    report: Report,
) -> Iterator[Step | Output]:
    """The same where the guide tells of another solid than the asset's. Its shape is that of an edit of
    everything, for a solid that starts from the guide would bring back what was removed; its look is the
    guide's.
    """
    generator, extra = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
    chosen = EditSettings(settings, "replace", seed, start="asset")
    masks = masks_of(_EVERYTHING, asset, chosen.margin)
    change = Change(networks, asset, masks, chosen, generator, extra, report)
    yield Step("condition", 0, 1)
    yield Step("condition", 1, 1)
    made, condition = yield from new_shape(change, shaped_as(change, condition))
    voxels = Voxels(made.coords, made.resolution, made.occupied, condition.solid)
    yield Output("structure_latent", made.structure_latent)
    yield Output("voxels", voxels)
    for event in generate(networks, condition, settings, generator, [voxels], report):
        if not (isinstance(event, Step) and event.stage == "condition"):
            yield event


def onto_mesh(
    events: Iterator[Step | Output],
    vertices: np.ndarray,
    faces: np.ndarray,
    bake: Callable[[Mesh, Gaussians | None], TexturedMesh] | None = None,
) -> Iterator[Step | Output]:
    """The steps of a variant, and instead of its outputs the colours of its mesh on another one.

    vertices (V, 3), faces (F, 3): that mesh in the asset's unit cube. bake: what makes a texture for it, of
    that mesh in these colours and the variant's Gaussians, which come before its mesh.
    """
    gaussians = None
    for event in events:
        if isinstance(event, Step):
            yield event
        elif isinstance(event.value, Gaussians):
            gaussians = event.value
        elif isinstance(event.value, Mesh):
            made = event.value
            own, same = made.vertices.cpu().double().numpy(), made.faces.cpu().numpy()
            colors = torch.full_like(made.vertices, 0.8) if made.colors is None else made.colors
            carried = carried_colors(
                vertices, normals_of(vertices, faces), own, normals_of(own, same), colors.cpu().numpy()
            )
            given = torch.from_numpy(carried)
            if bake is None:
                yield Output("vertex_colors", VertexColors(given))
            else:
                shape = torch.from_numpy(vertices).float(), torch.from_numpy(faces.astype(np.int64))
                baked = bake(Mesh(*shape, given), gaussians)
                yield Output("vertex_colors", VertexColors(given, baked.image), about=baked.surface)


def _from_asset(condition: Condition, asset: AssetLatents, mean: Tensor, std: Tensor) -> Condition:
    """The same with the asset's latents to start from, as a grid (1, C, S, S, S), 0 where no voxel is."""
    grid = asset.feats.new_zeros(1, asset.feats.shape[1], *(asset.resolution,) * 3)
    x, y, z = asset.coords.long().unbind(1)
    grid[0, :, x, y, z] = ((asset.feats - mean) / std).T
    return replace(condition, structure_start=asset.structure_latent, latent_start=grid)
