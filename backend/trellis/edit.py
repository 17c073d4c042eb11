"""Changes a region of an asset and keeps the rest, bit for bit: RePaint in both stages, mixed decoder rows.

The paper names the method (arXiv 2412.01506 section 3.4, "region-specific editing") without numbers. Decoding
the edited latents alone would change every row, for attention and group norms reach everywhere. So the rows
of voxels outside the region, grown by a margin, are those of the asset as it was; one extraction joins both.

L voxels · r³ cells of the structure latent · R³ voxels of the structure · S³ grid of the structured latent.
"""

import hashlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.errors import UserError
from backend.geometry.region import Region
from backend.representations.mesh import Mesh
from backend.representations.mixing import mixed_cubes, mixed_mesh, mixed_values
from backend.representations.structure import occupied_voxels
from backend.sampling import Known
from backend.trellis.asset import AssetLatents
from backend.trellis.conditioning import Condition
from backend.trellis.decoding import (
    ROLES,
    STAGES,
    Report,
    StructuredLatent,
    Voxels,
    decode_rows,
    decode_structure,
    finish,
    silent,
)
from backend.trellis.edit_region import Masks, check_masks, grown, masks_of
from backend.trellis.generate import Guide, condition_on, normalization
from backend.trellis.networks import Networks
from backend.trellis.stages import Output, Settings, Step, sample_latents, sample_structure
from blender_trellis.protocol import EditMode


@dataclass(frozen=True)
class EditSettings:
    """How a region is changed.

    mode: "replace" makes shape and look anew, "add" keeps what is there and adds to it, "look" keeps the
    shape, "remove" takes the region's voxels away. start: below full strength, sampling starts from latents
    of the "guide" (where the model has them) or of the "asset". margin: voxels round the region whose
    surface may adapt. growth: cells of the structure latent round the region that are sampled too. jumps:
    passes of a step.
    """

    sampling: Settings
    mode: EditMode = "replace"
    seed: int = 1
    start: Literal["guide", "asset"] = "guide"
    margin: int = 2
    growth: int = 1
    jumps: int = 1

    def checked(self) -> "EditSettings":
        """Self, or a UserError that names the setting out of range."""
        for name, highest in (("margin", 16), ("growth", 4)):
            if not 0 <= getattr(self, name) <= highest:
                raise UserError(f"The {name} is {getattr(self, name)}; choose 0 to {highest}.")
        if not 1 <= self.jumps <= 50:
            raise UserError(f"The number of jumps is {self.jumps}; choose 1 to 50.")
        return self


@torch.inference_mode()
def edit(
    networks: Networks,
    asset: AssetLatents,
    guide: Guide | None,
    region: Region,
    settings: EditSettings,
    report: Report = silent,
) -> Iterator[Step | Output]:
    """All steps and outputs of an edit, of the same kinds as `generate`.

    guide: what the whole object should be; None for "remove". Raises UserError where the region holds nothing
    to change, where nothing would be left, and where the model finds nothing for it. `check_edit` says more
    before anything is loaded.
    """
    settings = settings.checked()
    asset = asset.to(networks.device)
    masks = masks_of(region, asset, settings.margin)
    check_masks(masks, region, asset, settings.mode)
    random = torch.Generator().manual_seed(settings.seed)
    extra = torch.Generator().manual_seed(_derived(settings.seed))
    condition = None
    if settings.mode != "remove":
        yield Step("condition", 0, 1)
        assert guide is not None
        condition = condition_on(networks, guide)
        if settings.start == "asset":
            condition = replace(condition, structure_start=asset.structure_latent, latent_start=None)
        yield Step("condition", 1, 1)
    edited = asset
    if condition is not None and settings.mode in ("replace", "add"):
        edited = yield from _new_shape(networks, asset, condition, masks, settings, random, extra, report)
    elif settings.mode == "remove":
        edited = _with_occupied(asset, asset.occupied & ~masks.structure, masks)
    yield Output("structure_latent", edited.structure_latent)
    yield Output("voxels", Voxels(edited.coords, edited.resolution, edited.occupied))
    rows = _old_rows(asset, edited.coords)
    if condition is not None:
        edited = yield from _new_look(
            networks, asset, edited, rows, condition, masks, settings, random, extra, report
        )
    else:
        edited = replace(edited, feats=asset.feats[rows])
    yield Output("structured_latent", StructuredLatent(edited.coords, edited.feats, edited.resolution))
    yield from _decode(networks, asset, edited, rows, masks, settings, report)


def _new_shape(
    networks: Networks,
    asset: AssetLatents,
    condition: Condition,
    masks: Masks,
    settings: EditSettings,
    random: torch.Generator,
    extra: torch.Generator,
    report: Report,
) -> Generator[Step, None, AssetLatents]:
    """Stage 1: the structure latent is sampled in the region's cells and read in the region's voxels."""
    cells = asset.structure_latent.shape[-1]
    pooled = F.max_pool3d(masks.structure[None, None].float(), len(asset.occupied) // cells)[0, 0] > 0
    free = grown(pooled, settings.growth)[None, None]
    known = Known(asset.structure_latent, free, settings.jumps, extra)
    (latent,) = yield from sample_structure(networks, condition, settings.sampling, random, report, known)
    yield Step("decode_sparse_structure", 0, 1)
    found = decode_structure(networks, latent, report).occupied
    if settings.mode == "add":
        found = found | asset.occupied
    edited = _with_occupied(asset, torch.where(masks.structure, found, asset.occupied), masks)
    x, y, z = edited.coords.long().unbind(1)
    if settings.mode == "replace" and not masks.voxels[x, y, z].any():
        raise UserError(
            "The model found no shape in the region; try another picture, a larger region or more strength."
        )
    return replace(edited, structure_latent=latent)


def _with_occupied(asset: AssetLatents, occupied: Tensor, masks: Masks) -> AssetLatents:
    """The asset with another structure: its voxels in the region, the old ones outside; no feats yet."""
    inside = torch.zeros_like(masks.voxels)
    x, y, z = occupied_voxels(occupied.float() - 0.5, asset.resolution).unbind(1)
    inside[x, y, z] = True
    before = torch.zeros_like(inside)
    x, y, z = asset.coords.long().unbind(1)
    before[x, y, z] = True
    coords = torch.argwhere(torch.where(masks.voxels, inside, before)).int()
    return replace(asset, occupied=occupied, coords=coords, feats=asset.feats[:0])


def _new_look(
    networks: Networks,
    asset: AssetLatents,
    edited: AssetLatents,
    rows: Tensor,
    condition: Condition,
    masks: Masks,
    settings: EditSettings,
    random: torch.Generator,
    extra: torch.Generator,
    report: Report,
) -> Generator[Step, None, AssetLatents]:
    """Stage 2: latents are sampled on the region's voxels; rows (L,) are the old ones, -1 for none."""
    mean, std = normalization(networks)
    x, y, z = edited.coords.long().unbind(1)
    free = (masks.voxels[x, y, z] | (rows < 0))[:, None]
    before = torch.where((rows >= 0)[:, None], asset.feats[rows.clamp_min(0)], mean)
    known = Known((before - mean) / std, free, settings.jumps, extra)
    condition = replace(condition, latent_start=_start(condition, known.data, edited, settings))
    (sampled,) = yield from sample_latents(
        networks, condition, [edited.coords], settings.sampling, random, report, known
    )
    # The stored latents themselves outside: to normalise and back would cost their last bit.
    return replace(edited, feats=torch.where(free, sampled * std + mean, before))


def _start(
    condition: Condition, before: Tensor, edited: AssetLatents, settings: EditSettings
) -> Tensor | None:
    """Where the normalised latents start, as a grid (1, C, S, S, S)."""
    start = before if settings.start == "asset" else condition.latent_start_at(edited.coords)
    if start is None:
        return None
    # A guide's own latents are 0 far from its surface. Where the shape stays, the asset's say more.
    empty = (start == 0).all(dim=1, keepdim=True) & (settings.mode == "look")
    grid = start.new_zeros(1, start.shape[1], *(edited.resolution,) * 3)
    x, y, z = edited.coords.long().unbind(1)
    grid[0, :, x, y, z] = torch.where(empty, before, start).T
    return grid


def _decode(
    networks: Networks,
    asset: AssetLatents,
    edited: AssetLatents,
    rows: Tensor,
    masks: Masks,
    settings: EditSettings,
    report: Report,
) -> Iterator[Step | Output]:
    x, y, z = edited.coords.long().unbind(1)
    own, kept = masks.voxels[x, y, z], (rows >= 0) & ~masks.grown[x, y, z]
    if settings.mode == "remove":
        kept = rows >= 0
    look = settings.mode == "look"
    old = StructuredLatent(asset.coords, asset.feats, asset.resolution)
    new = StructuredLatent(edited.coords, edited.feats, edited.resolution)
    for kind in ROLES:
        if kind not in settings.sampling.formats:
            continue
        yield Step(STAGES[kind], 0, 1)
        before = decode_rows(networks, kind, old, report)
        after = before[rows] if kept.all() else decode_rows(networks, kind, new, report)
        if kind == "mesh":
            mixed = mixed_cubes(before[rows.clamp_min(0)], after, own, kept, look)
            was = finish(networks, kind, old.coords, before, report)
            made = finish(networks, kind, new.coords, mixed, report)
            assert isinstance(was, Mesh) and isinstance(made, Mesh)
            value, same = mixed_mesh(was, made, masks.voxels if look else masks.grown, look)
        else:
            was, made = finish(networks, kind, old.coords, before), finish(networks, kind, new.coords, after)
            value, same = mixed_values(was, made, rows, own, kept, look)
        yield Output(kind, value, kept=same)
        yield Step(STAGES[kind], 1, 1)


def _old_rows(asset: AssetLatents, coords: Tensor) -> Tensor:
    """The asset's row (L,) of each voxel, -1 where it has none."""
    table = torch.full((asset.resolution,) * 3, -1, dtype=torch.long, device=coords.device)
    x, y, z = asset.coords.long().unbind(1)
    table[x, y, z] = torch.arange(len(asset.coords), device=coords.device)
    x, y, z = coords.long().unbind(1)
    return table[x, y, z]


def _derived(seed: int) -> int:
    """A second stream for all that editing draws beside what generation does."""
    return int.from_bytes(hashlib.sha256(f"edit {seed}".encode()).digest()[:7], "big")
