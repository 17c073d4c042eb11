"""What needs a window: putting an asset into the scene that is open, and redrawing."""

import bpy

from .asset import Asset
from .collection import add_asset


def place(asset: Asset) -> None:
    """Adds the asset to the scene that is open now, as one undo step."""
    window = bpy.context.window or next(iter(bpy.context.window_manager.windows), None)
    if window is None:  # background mode has neither windows nor undo
        add_asset(asset, bpy.context.scene, bpy.context.view_layer)
        return
    with bpy.context.temp_override(window=window):  # timers run without one
        add_asset(asset, window.scene, window.view_layer)
        bpy.ops.ed.undo_push(message=f"TRELLIS: {asset.name}"[:60])


def redraw() -> None:
    """Redraws where the add-on has something to show: sidebars, not the 3D views that they lie on."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "PREFERENCES":
                area.tag_redraw()
            elif area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()
