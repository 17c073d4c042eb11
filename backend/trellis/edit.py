"""Changes a region of an asset and keeps the rest, bit for bit: RePaint in both stages, mixed decoder rows.

The paper names the method (arXiv 2412.01506 section 3.4, "region-specific editing") without numbers. Decoding
the edited latents alone would change every row, for attention and group norms reach everywhere. So the rows
of voxels outside the region, grown by a margin, are those of the asset as it was; one extraction joins both.

L voxels · r³ cells of the structure latent · R³ voxels of the structure · S³ grid of the structured latent.
"""

import hashlib
from collections.abc import Generator, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from backend.geometry.region import Region
from backend.representations.mesh import Mesh
from backend.representations.mixing import mixed_cubes, mixed_mesh, mixed_values, values_at
from backend.trellis.asset import AssetLatents
from backend.trellis.conditioning import Condition
from backend.trellis.decoding import (
    ROLES,
    STAGES,
    Report,
    Voxels,
    decode_rows,
    finish,
    silent,
)
from backend.trellis.editing.layers import (
    rows_as_they_were,
    solid_as_it_is,
    values_as_they_were,
    with_history,
    within_edited,
)
from backend.trellis.editing.region import check_masks, grown, masks_of, rows_of
from backend.trellis.editing.removal import closed, without_region
from backend.trellis.editing.resampling import check_difference, new_look, new_shape, on_own_shape
from backend.trellis.editing.settings import Change, EditSettings
from backend.trellis.generate import Guide, condition_on
from backend.trellis.networks import Networks
from backend.trellis.stages import Output, Step


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
    change = Change(networks, asset, masks, settings, random, extra, report)
    condition, mesh, edited = None, None, asset
    if settings.mode == "remove":
        edited, mesh = without_region(change)
    else:
        assert guide is not None
        yield Step("condition", 0, 1)
        condition = _condition(change, guide)
        yield Step("condition", 1, 1)
        if settings.mode == "look":
            condition = on_own_shape(change, condition)
        else:
            edited, condition = yield from new_shape(change, condition)
    yield Output("structure_latent", edited.structure_latent)
    yield Output("voxels", Voxels(edited.coords, edited.resolution, edited.occupied))
    rows = rows_of(asset.coords, edited.coords, asset.resolution)
    if condition is None:
        edited = yield from closed(change, edited, rows, mesh)
    else:
        edited = yield from new_look(change, edited, rows, condition)
        if not masks.voxels.all():  # round everything it is a variant, and another question
            check_difference(change, edited, rows)
    changed = _changed(change, edited, rows)
    x, y, z = edited.coords.long().unbind(1)
    own = changed[x, y, z]
    edited = with_history(asset, edited, rows, own, settings.mode == "look")
    within = yield from _decode(change, edited, rows, changed, own)
    yield Output("structured_latent", replace(edited.latent, within=within))


def _condition(change: Change, guide: Guide) -> Condition:
    condition = condition_on(change.networks, guide, change.settings.seed)
    if change.settings.start == "guide":
        return condition
    return shaped_as(change, condition)


def shaped_as(change: Change, condition: Condition) -> Condition:
    """The condition with the asset's shape to start from, in place of what the guide predicts of it."""
    asset, solid = change.asset, condition.solid
    if solid is not None:
        solid = solid_as_it_is(change.networks, asset, solid, change.report)
    return replace(condition, structure_start=asset.structure_latent, latent_start=None, solid=solid)


def _changed(change: Change, edited: AssetLatents, rows: Tensor) -> Tensor:
    """The voxels (S, S, S) that may be decoded anew: what is asked for, and round new shape the margin."""
    if change.settings.mode == "replace":
        return change.masks.grown
    if change.settings.mode != "add":
        return change.masks.voxels
    added = torch.zeros_like(change.masks.voxels)
    x, y, z = edited.coords[rows < 0].long().unbind(1)
    added[x, y, z] = True
    return grown(added, change.settings.margin)


def _decode(
    change: Change, edited: AssetLatents, rows: Tensor, changed: Tensor, own: Tensor
) -> Generator[Step | Output, None, Tensor | None]:
    """Outputs of which all but what changed voxels (S, S, S) give is the asset's own; rows (L,) are those of
    before, own (L,) the edited asset's changed voxels. Returns what lies within, which the mesh decoder tells
    also where no mesh is asked for: later edits are to find the solid as it is now.
    """
    networks, asset, report = change.networks, change.asset, change.report
    look = change.settings.mode == "look"
    kept = (rows >= 0) & ~own
    new = edited.latent
    within = asset.within if look else None
    formats = change.settings.sampling.formats
    for kind in ROLES:
        if kind not in formats and (kind != "mesh" or look or not networks.is_solid()):
            continue
        yield Step(STAGES[kind], 0, 1)
        after = None if kept.all() else decode_rows(networks, kind, new, report)
        if kind == "mesh":
            before = rows_as_they_were(networks, kind, asset, report)
            mixed = before[rows.clamp_min(0)]
            if after is not None:
                mixed = mixed_cubes(mixed, after, own, kept, look)
            if not look:
                within = within_edited(networks, asset, before, edited, mixed, changed)
            if kind not in formats:
                continue
            was = finish(networks, kind, asset.coords, before, report, within=asset.within)
            made = finish(networks, kind, new.coords, mixed, report, within=within)
            assert isinstance(was, Mesh) and isinstance(made, Mesh)
            value, same = mixed_mesh(was, made, changed, look)
        else:
            was = values_as_they_were(networks, kind, asset, report)
            if after is None:
                value = values_at(was, len(asset.coords), rows)
                same = torch.ones(len(value), dtype=torch.bool, device=rows.device)
            else:
                made = finish(networks, kind, new.coords, after, outline=new.outline)
                value, same = mixed_values(was, made, rows, own, kept, look)
        yield Output(kind, value, kept=same)
        yield Step(STAGES[kind], 1, 1)
    return within


def _derived(seed: int) -> int:
    """A second stream for all that editing draws beside what generation does."""
    return int.from_bytes(hashlib.sha256(f"edit {seed}".encode()).digest()[:7], "big")
