"""What needs a window: putting an asset into the scene that is open, and redrawing."""

from collections.abc import Callable, Generator, Sequence

import bpy
from mathutils import Matrix

from ..backend_settings import backend_settings
from ..faults import Fault
from .asset import Asset
from .collection import asset_steps, put_asset
from .display.colors import set_up_colors
from .display.framing import frame_selected
from .display.shading import renew_solid_colors, show_in_solid
from .find_asset import ASSET, asset_id, find_asset, in_use, own_asset
from .replace import finish, fits, has_latents, replace_steps
from .standing import AT_CURSOR, Standing


def open_view_layer() -> bpy.types.ViewLayer:
    """The view layer that results go into."""
    window = _window()
    return bpy.context.view_layer if window is None else window.view_layer


def has_to_wait(edits: str) -> str:
    """Why the result of an edit of this asset cannot go into the scene now; empty where it can."""
    collection = find_asset(edits)
    if collection is None or not in_use(collection):
        return ""
    return f'The edit of "{collection.name}" is done: leave Edit, Sculpt or Paint Mode to receive it.'


def place_steps(
    asset: Asset,
    edits: str = "",
    keeps_former: bool = False,
    matrix: Sequence[float] | None = None,
    standing: Standing = AT_CURSOR,
    scene: int = 0,
    frames: bool = False,
    then: Callable[[bpy.types.Collection], None] = lambda collection: None,
) -> Generator[None, None, str]:
    """Puts the asset into the scene that is open at the end, as one undo step; gives what is to tell, or ""
    for nothing. Between its steps Blender may be used; closed before its end, it leaves nothing behind.

    edits: the id of the asset that it is an edit of. matrix: 16 numbers, row by row. scene: the session_uid
    of the scene that it goes into where a window shows it, else into the one that is open. frames: whether
    3D views turn to a new one. then: what else is done to a new one in the same step.
    """
    where = cube_matrix(asset.frame, matrix)
    collection = None
    changed = _to_change(edits, asset)
    if changed is not None:
        yield from replace_steps(changed, asset, keeps_former)
    else:
        for made in asset_steps(asset):
            collection = made
            yield
    window = _window(scene)
    if window is None or bpy.app.background:  # where nobody undoes anything
        open_scene, view_layer = bpy.context.scene, bpy.context.view_layer
        return _put(collection, asset, edits, where, standing, open_scene, view_layer, then)
    with bpy.context.temp_override(window=window):  # timers run without one
        told = _put(collection, asset, edits, where, standing, window.scene, window.view_layer, then)
        bpy.ops.ed.undo_push(message=f"TRELLIS: {asset.name}"[:60])
        if frames and (told or not edits):
            show_in_solid(window.screen, window.view_layer)
            frame_selected(window)
    return told


def as_one_step(change: Callable[[], None], name: str) -> None:
    """Changes the scene that is open now, as one undo step called `name`."""
    window = _window()
    if window is None or bpy.app.background:
        change()
        return
    with bpy.context.temp_override(window=window):
        change()
        bpy.ops.ed.undo_push(message=f"TRELLIS: {name}"[:60])


def true_colors() -> str:
    """Sets the scene that is open up for what has just been put into it, where the preferences have it so;
    one sentence on what was set, or ""."""
    if not backend_settings().true_colors:
        return ""
    try:
        return set_up_colors(bpy.context.scene)
    except Fault as fault:  # what was put into the scene stays there
        return str(fault)


def asset_to_change(
    item: bpy.types.Object, otherwise: bpy.types.Collection | None = None
) -> bpy.types.Collection | None:
    """The `own_asset` of an object, `otherwise` where it has none; a job may go by its id.

    Where a copy becomes an asset by that, it is an undo step: undoing what is done while the job runs would
    take the asset away from its result.
    """
    before = _known_assets()
    collection = own_asset(item) or otherwise
    if collection is not None:
        asset_id(collection)
    if _known_assets() != before and bpy.ops.ed.undo_push.poll():
        bpy.ops.ed.undo_push(message="TRELLIS: Make Copy an Asset")
    return collection


def _known_assets() -> set[tuple[int, str]]:
    return {(one.session_uid, str(one[ASSET])) for one in bpy.data.collections if ASSET in one}


def finish_in_place(name: str, base: str, asset: Asset) -> str:
    """Gives the asset with this id its finished mesh, where its latents are still those of the fingerprint
    `base`, if given; what there is to tell where it is gone or another, or ""."""
    collection = find_asset(name)
    if collection is None:
        return f'"{asset.name}" was removed while it was finished; select it again and press Finish Asset.'
    if base and not has_latents(collection, base):
        return f'"{asset.name}" was edited while it was finished; press Finish Asset again.'
    finish(collection, asset)
    renew_solid_colors()
    return ""


def _window(scene: int = 0) -> bpy.types.Window | None:
    """The window that is used, or any, for timers run without one: one that shows the scene of this
    session_uid, where there is one. None where Blender has none."""
    used = bpy.context.window
    windows = [*([] if used is None else [used]), *bpy.context.window_manager.windows]
    return next((one for one in windows if one.scene.session_uid == scene), next(iter(windows), None))


def _to_change(edits: str, asset: Asset) -> bpy.types.Collection | None:
    """The asset that a result changes, None where it is to stand beside what is there."""
    collection = find_asset(edits)
    return collection if collection is not None and fits(collection, asset) else None


def _put(
    made: bpy.types.Collection | None,
    asset: Asset,
    edits: str,
    matrix: Matrix | None,
    standing: Standing,
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    then: Callable[[bpy.types.Collection], None],
) -> str:
    if made is None:  # it has changed the one that is there
        renew_solid_colors()
        return ""
    then(put_asset(made, asset, scene, view_layer, matrix, standing))
    if not edits:
        return ""
    return (
        f'"{asset.name}" was removed, is linked from another file, or has changed since the edit began: the '
        "result was added beside what is there."
    )


def cube_matrix(frame: tuple[float, float, float, float], rows: Sequence[float] | None) -> Matrix | None:
    """The world matrix of the asset's unit cube, from that of the frame which was sent."""
    if rows is None:
        return None
    scale, *offset = frame
    sent = Matrix([rows[place : place + 4] for place in range(0, 16, 4)])
    return sent @ Matrix.Translation(offset) @ Matrix.Scale(scale, 4)


def redraw(views: bool = False) -> None:
    """Redraws where the add-on has something to show: sidebars, and if asked the 3D views they lie on."""
    for window in bpy.context.window_manager.windows:
        if not len(window.modal_operators):  # which may have said something there
            window.workspace.status_text_set(None)  # redraws the status bar
        for area in window.screen.areas:
            if area.type == "PREFERENCES":
                area.tag_redraw()
            elif area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI" or (views and region.type == "WINDOW"):
                        region.tag_redraw()
