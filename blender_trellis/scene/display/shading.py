"""What 3D views shade with: colours instead of grey in Solid view, a light that keeps them in previews."""

from collections.abc import Iterable, Iterator

import bpy

from ..find_asset import PART, objects_in
from ..gaussians.nodes import IN_VIEWPORT, set_input
from ..gaussians.object import MODIFIER, is_gaussian

SOLID = "trellis_solid"  # on a screen: what its Solid views colour by was set here
PLAIN = ("MATERIAL", "SINGLE", "OBJECT", "RANDOM")  # one colour an object
OWN = ("VERTEX", "TEXTURE")
BRIGHT_SINCE = (5, 0)
"""The Blender from which on the first light of Material Preview burns colours out at its full strength."""
LIGHT, FULL, SUITED = "forest.exr", 1.0, 0.75


def show_in_solid(screen: bpy.types.Screen, view_layer: bpy.types.ViewLayer) -> None:
    """Lets the screen's Solid views show textures or the colours of vertices where they would show one colour
    for all of an object."""
    for space in _views(screen):
        _show_in_solid(space, screen, view_layer, (*PLAIN, "VERTEX"))


def renew_solid_colors() -> None:
    """After a texture has come or gone: the same in all windows, for views whose choice was made here."""
    for window in bpy.context.window_manager.windows:
        for space in _views(window.screen):
            _show_in_solid(space, window.screen, window.view_layer)


def suit_view(context: bpy.types.Context, items: Iterable[bpy.types.Object]) -> None:
    """Lets the 3D view in use show colours where it would show grey, and splats where it shades."""
    space = context.space_data
    if space is None or space.type != "VIEW_3D":
        return
    if space.shading.type == "SOLID":
        _show_in_solid(space, context.screen, context.view_layer, (*PLAIN, *OWN))
    for item in items:
        set_input(item.modifiers[MODIFIER], IN_VIEWPORT, space.shading.type in ("MATERIAL", "RENDERED"))
        item.update_tag()


def suit_preview_light(version: tuple[int, ...] = bpy.app.version) -> bool:
    """Weakens the light of Material Preview in all 3D views that have it as Blender made it; whether any had.

    What else an artist has chosen there stays. version: of the Blender that will show it.
    """
    if version < BRIGHT_SINCE:
        return False
    changed = False
    for space in (space for screen in bpy.data.screens for space in _views(screen)):
        shading = space.shading
        kind, shading.type = shading.type, "MATERIAL"  # in which alone it tells of that light
        if shading.studio_light == LIGHT and shading.studiolight_intensity == FULL:
            shading.studiolight_intensity = SUITED
            changed = True
        shading.type = kind
    return changed


def _show_in_solid(
    space: bpy.types.SpaceView3D,
    screen: bpy.types.Screen,
    view_layer: bpy.types.ViewLayer,
    instead_of: tuple[str, ...] = (),
) -> None:
    """Sets what colours the Solid view where that is one of these now, or one of ours that was set here."""
    now, wanted = space.shading.color_type, _solid_colors(view_layer)
    if now != wanted and now in (*instead_of, *(OWN if SOLID in screen else ())):
        space.shading.color_type = wanted
        screen[SOLID] = True


def _solid_colors(view_layer: bpy.types.ViewLayer) -> str:
    """ "TEXTURE" where all that is seen of assets has one. Else "VERTEX", which textured meshes have too:
    by textures, what has none would be of one colour."""
    parts = (item for item in objects_in(view_layer) if PART in item or is_gaussian(item))
    seen = [item for item in parts if item.type == "MESH" and item.visible_get(view_layer=view_layer)]
    return "TEXTURE" if seen and all(_has_texture(item) for item in seen) else "VERTEX"


def _has_texture(item: bpy.types.Object) -> bool:
    """Whether Solid view finds an image to show: the active node of the material."""
    tree = item.active_material.node_tree if item.active_material is not None else None
    active = tree.nodes.active if tree is not None else None
    return active is not None and active.type == "TEX_IMAGE" and active.image is not None


def _views(screen: bpy.types.Screen) -> Iterator[bpy.types.SpaceView3D]:
    return (space for area in screen.areas for space in area.spaces if space.type == "VIEW_3D")
