"""An edit's result goes into the asset that it changes; its objects keep all that is theirs.

Objects, transforms, names, materials, modifiers and every kept vertex and splat stay as they are in the
scene; only what the edit made anew comes from the result. V vertices.
"""

import json
from dataclasses import dataclass, replace
from typing import get_args

import bpy
import numpy as np

from ..faults import Fault
from ..protocol import Background, EditMode
from ..splats.values import Splats
from .asset import Arrays, Asset, fingerprint
from .collection import (
    finished_object,
    finished_steps,
    linear_colors,
    mark_half_made,
    remove_made,
    show,
    shown,
    store_sources,
    unmark_half_made,
)
from .find_asset import (
    ASSET,
    FOREIGN,
    KEY,
    PART,
    data_frame,
    gather,
    hang_regions,
    members,
    name_vertices,
    new_id,
    part,
    rows_of,
    store_sample,
    store_size,
    stored_size,
    vertex_keys,
)
from .gaussians.object import columns_of
from .latents import owners, read_latents
from .materials import COLOR_ATTRIBUTE, carry_materials, remove_unused
from .splice import set_values, splice_steps
from .steps import Steps, at_once

KINDS = ("mesh", "gaussian")


@dataclass(frozen=True)
class _Swap:
    """An object's mesh as it was, and as it will be."""

    item: bpy.types.Object
    old: bpy.types.Mesh
    new: bpy.types.Mesh


def changed_by_hand(collection: bpy.types.Collection) -> str:
    """Why an edit cannot keep what was done to the asset's mesh since, one sentence; empty where it can."""
    for kind in KINDS:
        item = part(collection, kind)
        if item is not None and not _is_named(item.data, kind):
            what = "vertices" if kind == "mesh" else "splats"
            return (
                f'The {what} of "{item.name}" were added, removed or joined by hand: the edit puts the '
                "generated ones in their place, and what was changed on them is lost."
            )
    return ""


def fits(collection: bpy.types.Collection, asset: Asset) -> bool:
    """Whether the asset is still as it was when the edit began."""
    return asset.change is not None and has_latents(collection, asset.change.base)


def has_latents(collection: bpy.types.Collection, base: str) -> bool:
    """Whether the asset has the latents of this fingerprint."""
    try:
        return fingerprint(read_latents(collection).arrays) == base
    except Fault:
        return False


def replace_asset(collection: bpy.types.Collection, asset: Asset, keep_former: bool = False) -> None:
    """All of `replace_steps` at once."""
    at_once(replace_steps(collection, asset, keep_former))


def replace_steps(collection: bpy.types.Collection, asset: Asset, keep_former: bool = False) -> Steps[None]:
    """Puts an edit's result in the place of the asset; if anything fails, the asset stays as it was.

    What was kept comes from the scene's own meshes by name, as `changed_by_hand` allows. The former version
    stays, hidden, in a collection within the asset's where that is asked for. Only the last step changes what
    is in the scene.
    """
    look = asset.change is not None and asset.change.mode == "look"
    swaps: list[_Swap] = []
    made: list[bpy.types.ID] = []
    finished, kind_shown = None, shown(collection)
    try:
        if asset.finished is not None and part(collection, "mesh") is not None:
            for _ in finished_steps(collection.name, asset, made):
                mark_half_made(made)
                yield
            finished = next(one for one in made if isinstance(one, bpy.types.Object))
        for kind, arrays in zip(KINDS, (asset.mesh, asset.gaussian), strict=True):
            item = part(collection, kind)
            if item is not None and arrays is not None:
                swaps.append(_Swap(item, item.data, item.data.copy()))
                made.append(swaps[-1].new)
                mark_half_made(made)
                yield from _renew(swaps[-1].new, kind, arrays, look)
                yield
        unmark_half_made(made)
    except BaseException:
        remove_made(made)
        raise
    gather(members(collection))
    for swap in swaps:
        swap.old.user_remap(swap.new)
        name = swap.old.name
        swap.old.name, swap.new.name = f"{name} Former", name
    former = _keep(collection, swaps) if keep_former else None
    for swap in swaps:
        remove_unused(swap.old)
    _finish(collection, finished, kind_shown, former)
    steps = [*history_of(collection), *json.loads(str(asset.properties.get("history", "[]")))]
    properties = {**asset.properties, "history": json.dumps(steps, sort_keys=True)}
    store_sources(collection, replace(asset, properties=properties))


def finish(collection: bpy.types.Collection, asset: Asset) -> None:
    """Gives the asset the finished mesh of a result; the raw one, its Gaussians and latents stay."""
    _finish(collection, finished_object(collection.name, asset, []), shown(collection))


def _finish(
    collection: bpy.types.Collection,
    finished: bpy.types.Object | None,
    kind: str,
    former: bpy.types.Object | None = None,
) -> None:
    """Gives the asset its new finished mesh: in the object that is there, which keeps what is its own, and
    in its linked duplicates, or where the raw mesh stands. An old one goes where the edit has none, and stays
    with `former`."""
    old, raw = part(collection, "finished"), part(collection, "mesh")
    before = old or raw
    if finished is not None and before is not None:
        finished.data.transform(data_frame(before.data))
    if old is None and finished is not None and raw is not None:
        fresh, finished = finished, raw.copy()  # with its modifiers, constraints and animation
        finished.data, finished[PART] = fresh.data, "finished"
        bpy.data.objects.remove(fresh)
        collection.objects.link(finished)
        raw.name, finished.name = f"{collection.name} Raw", raw.name
        _hand_over(raw, finished)
        hang_regions(raw, finished)
    elif old is not None:
        data, name = old.data, old.data.name
        data.name = f"{name} Former"
        if finished is None:
            if raw is not None:
                hang_regions(old, raw)
            bpy.data.objects.remove(old)
        else:
            data.user_remap(finished.data)
            if former is not None:
                former.data = data
            carry_materials(data, finished.data)
            bpy.data.objects.remove(finished)
        remove_unused(data)
        if finished is not None:
            old.data.name = name
    show(collection, kind or "mesh")


def _hand_over(before: bpy.types.Object, now: bpy.types.Object) -> None:
    """Selects `now`, and makes it active, wherever that was so of an object that is about to be hidden."""
    if before.mode != "OBJECT":
        return
    for layer in (layer for scene in bpy.data.scenes for layer in scene.view_layers):
        is_active, is_selected = layer.objects.active == before, before.select_get(view_layer=layer)
        if not (is_active or is_selected):
            continue
        layer.update()  # it does not know of `now` before, and may be one that shows `before` alone
        if layer.objects.get(now.name) != now:
            continue
        before.select_set(False, view_layer=layer)
        now.select_set(is_selected, view_layer=layer)
        if is_active:
            layer.objects.active = now


def _renew(mesh: bpy.types.Mesh, kind: str, arrays: Arrays, look: bool) -> Steps[None]:
    frame = np.array(data_frame(mesh))
    rows, index = _rows(mesh, kind, arrays, look)
    arrays = {name: values if name == "faces" else values[index] for name, values in arrays.items()}
    keys, made = arrays["keys"], arrays["vertices" if kind == "mesh" else "position"]
    faces = arrays.get("faces", np.empty((0, 3), np.int32))
    changed = rows < 0
    if look and not changed.any() and len(rows) == len(mesh.vertices):
        order = np.argsort(rows)
    else:
        if not len(vertex_keys(mesh)):
            name_vertices(mesh)
        order = yield from splice_steps(mesh, rows, made @ frame[:3, :3].T + frame[:3, 3], faces)
        new = np.flatnonzero(changed[order])
        set_values(mesh, KEY, new, keys[order[new]])
        store_sample(mesh, keys[order], made[order])
        store_size(mesh)
    if look:
        changed |= arrays["kept"] == 0
    at = np.flatnonzero(changed[order])
    looks = {name: values[order[at]] for name, values in arrays.items() if name != "faces"}
    _set_looks(mesh, kind, looks, at, frame)


def _rows(mesh: bpy.types.Mesh, kind: str, arrays: Arrays, look: bool) -> tuple[np.ndarray, np.ndarray]:
    """What the mesh will be made of: rows of its own that stay, -1 for new ones, and of the same the rows of
    the result. Splats that were deleted by hand stay deleted; those that were copied or joined stay."""
    kept = arrays.get("kept")
    everything = np.arange(len(arrays["keys"]))
    new = np.full(len(everything), -1, np.int64)
    if kept is None or not _is_named(mesh, kind):
        return new, everything
    kept, present = np.ones(len(new), bool) if look else kept.astype(bool), vertex_keys(mesh)
    if kind == "gaussian":
        named = rows_of(present, arrays["keys"])
        stays = np.flatnonzero((present == FOREIGN) | ((named >= 0) & kept[named]))
        lacking = np.flatnonzero(~kept)
        return np.concatenate([stays, new[lacking]]), np.concatenate([np.maximum(named[stays], 0), lacking])
    found = rows_of(arrays["keys"], present)
    # After an earlier edit the scene's mesh joins two decodes, and some vertices of this one are not in it.
    return np.where(kept, found, new), everything


def _is_named(mesh: bpy.types.Mesh, kind: str) -> bool:
    """Whether a mesh has the vertices and faces that it was made with, each under its name; splats have no
    faces that need them all."""
    keys = vertex_keys(mesh)
    if kind == "gaussian":
        return len(keys) > 0
    size = (len(mesh.vertices), len(mesh.polygons))
    return size == stored_size(mesh) and len(keys) == len(mesh.vertices) == len(np.unique(keys))


def _set_looks(mesh: bpy.types.Mesh, kind: str, arrays: Arrays, rows: np.ndarray, frame: np.ndarray) -> None:
    """Sets what is not the position of the vertices `rows`: colours, and all that a splat is."""
    if not len(rows):
        return
    if kind == "gaussian":
        for name, values in columns_of(Splats.plain(arrays).moved(frame)):
            set_values(mesh, name, rows, values)
        return
    linear = linear_colors(arrays)
    set_values(mesh, COLOR_ATTRIBUTE, rows, np.concatenate([linear, np.ones((len(linear), 1))], axis=1))


def _keep(collection: bpy.types.Collection, swaps: list[_Swap]) -> bpy.types.Object | None:
    """The former version as an asset of its own, hidden within the collection, under the same parent. Gives
    its finished mesh, where it has one."""
    former = bpy.data.collections.new(f"{collection.name} Former")
    for key in collection.keys():
        former[key] = collection[key]
    finished = part(collection, "finished")
    kept = [(swap.item, swap.old) for swap in swaps]
    for item, mesh in kept if finished is None else [*kept, (finished, finished.data)]:
        copy = item.copy()
        copy.name, copy.data = f"{item.name} Former", mesh
        former.objects.link(copy)
    name = new_id()
    for owner in owners(former):
        owner[ASSET] = name
    former.hide_viewport = former.hide_render = True
    collection.children.link(former)
    return part(former, "finished")


def background_of(collection: bpy.types.Collection) -> Background:
    """How the background of the asset's own pictures went; edits are guided by others."""
    steps = [step for step in history_of(collection) if step.get("mode") not in get_args(EditMode)]
    settings = steps[-1].get("settings") if steps else None
    found = settings.get("background") if isinstance(settings, dict) else None
    return next((one for one in get_args(Background) if one == found), "auto")


def history_of(collection: bpy.types.Collection) -> list[dict[str, object]]:
    """The steps that made an asset, oldest first."""
    return json.loads(str(collection.get("trellis_history", "[]")))
