"""Takes a region's voxels away and closes the cut. L voxels · S³ grid of the structured latent."""

from collections.abc import Generator
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor

from backend.encoding.closing import closing_layer, layer_latents, mesh_solid, voxel_solid
from backend.encoding.latent_encoders import LatentEncoder, StructureEncoder, is_view_aligned
from backend.errors import MissingModel
from backend.image.crop import PICTURE_SIZE
from backend.lifting.surface import FEATURES
from backend.representations.mesh import Mesh
from backend.trellis.asset import AssetLatents
from backend.trellis.conditioning import Condition
from backend.trellis.editing.layers import mesh_as_it_is
from backend.trellis.editing.region import repeated, voxels_of
from backend.trellis.editing.resampling import free_cells, new_look
from backend.trellis.editing.settings import Change
from backend.trellis.networks import Networks
from backend.trellis.stages import Step


def without_region(change: Change) -> tuple[AssetLatents, Mesh | None]:
    """The asset without the region's voxels but, where the cut is closed, its lid, no feats yet; and what it
    decoded to, where the lid is made of that.
    """
    asset, masks = change.asset, change.masks
    before = voxels_of(asset)
    lid, mesh = torch.zeros_like(before), None
    if change.settings.close_cut:
        if is_view_aligned(change.networks.folder):
            mesh = mesh_as_it_is(change.networks, asset, change.report)
            solid = mesh_solid(mesh, asset.resolution)
        else:
            solid = voxel_solid(before.cpu().numpy())
        lid = torch.from_numpy(closing_layer(solid, masks.voxels.cpu().numpy())).to(before.device)
    finer = repeated(lid, len(asset.occupied) // asset.resolution)
    occupied = torch.where(masks.structure, finer, asset.occupied)
    return replace(
        asset,
        structure_latent=_encoded(change, occupied),
        occupied=occupied,
        coords=torch.argwhere(torch.where(masks.voxels, lid, before)).int(),
        feats=asset.feats[:0],
        outline=None,
    ), mesh


def _encoded(change: Change, occupied: Tensor) -> Tensor:
    """The structure latent (1, C, r, r, r) of what stays, voxels (R, R, R): as it was but in the region's
    cells, or variants would bring the rest back. Models that lack the encoder keep it as it was.
    """
    before = change.asset.structure_latent
    try:
        encoder = StructureEncoder(change.networks.folder, change.networks.device)
    except MissingModel:
        return before
    latent = encoder(occupied.cpu().numpy())[None].to(before)
    return torch.where(free_cells(change), latent, before)


def closed(
    change: Change, edited: AssetLatents, rows: Tensor, mesh: Mesh | None
) -> Generator[Step, None, AssetLatents]:
    """What stays, with its old latents, rows (L,), and the lid with those of a solid's cut face.

    Where the latent encoder reads distances, it makes them of the mesh; others would need views of what
    nobody has modelled, so there the flow fills the lid in, without a guide.
    """
    x, y, z = edited.coords.long().unbind(1)
    lid = change.masks.voxels[x, y, z]
    feats = change.asset.feats[rows.clamp_min(0)]
    if not lid.any():
        return replace(edited, feats=feats)
    if mesh is None:
        yield Step("condition", 0, 1)
        condition = _unguided(change.networks)
        yield Step("condition", 1, 1)
        return (yield from new_look(_from_noise(change), edited, torch.where(lid, -1, rows), condition))
    encoder = LatentEncoder(change.networks.folder, change.networks.device, FEATURES)
    cut = layer_latents(encoder, mesh, edited.coords.cpu().numpy(), change.masks.voxels.cpu().numpy())
    return replace(edited, feats=torch.where(lid[:, None], cut.to(feats.device), feats))


def _from_noise(change: Change) -> Change:
    sampling = change.settings.sampling
    anew = replace(sampling, latent=replace(sampling.latent, strength=1.0))
    return replace(change, settings=replace(change.settings, sampling=anew, start="guide"))


def _unguided(networks: Networks) -> Condition:
    """The absence of a guide, as a condition."""
    networks.begin("condition")
    if networks.folder.text_cond_model:
        some = networks.conditioner.from_text("object")
    else:
        some = networks.conditioner.from_pictures([Image.new("RGB", (PICTURE_SIZE, PICTURE_SIZE))])
    return Condition((some.null,), some.null)
