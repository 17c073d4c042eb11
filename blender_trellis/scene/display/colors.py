"""The scene's colour management, for renders and Material Preview in the colours of pictures and splats.

Blender's own view transform, AgX, answers like a film: it makes what is bright paler.
"""

from collections.abc import Iterable, Iterator

import bpy

from ...faults import Fault
from ..find_asset import ASSET, PART, is_local
from ..gaussians.nodes import ENCODED, get_input, set_input
from ..gaussians.object import MODIFIER, is_gaussian
from .shading import suit_preview_light

SET_UP = "trellis_colors"  # on a scene that was set up: the choice for it, or "" for one that the artist made
TRANSFORMS = {"STANDARD": "Standard", "VIEWERS": "Raw"}
TOLD = {
    "STANDARD": "View transform now Standard: colors are those of the picture",
    "LIGHT": "View transform now Standard, light of Material Preview 0.75: colors are those of the picture",
    "VIEWERS": "View transform now Raw: splats look as in viewers; lit objects need Standard",
}
_FACTORY_TRANSFORM = "AgX"
_NEUTRAL = {
    "look": "None",
    "exposure": 0.0,
    "gamma": 1.0,
    "use_curve_mapping": False,
    "use_white_balance": False,  # since Blender 4.3
}
# Pixel filters' width, in pixels: Blender's own, and one that takes each pixel at its centre, as viewers do.
_SOFT, _SHARP = 1.5, 0.01
# Objects that light falls on.
_LIT = ("MESH", "CURVE", "CURVES", "SURFACE", "META", "FONT", "POINTCLOUD", "VOLUME", "GREASEPENCIL")
_UNSEEN = ("CAMERA", "ARMATURE", "LATTICE", "SPEAKER")


def set_up_colors(scene: bpy.types.Scene) -> str:
    """For what has just been put into the scene: sets it up once, where it is as Blender makes scenes and
    holds nothing else. Gives one sentence on what was set, or "" where nothing was.

    What an artist has chosen stays. A scene that was set up here for splats alone, and still is so, becomes
    one for lit objects when the first of them comes.
    """
    before = scene.get(SET_UP)
    as_viewers = _shows_as_viewers(scene)
    if _is_untouched(scene) if before is None else before == "VIEWERS" and as_viewers:
        choice = suited_colors(scene)
        if choice != before:
            return _set_up(scene, choice, mark=choice)
    if as_viewers:
        _encode(_splats(scene), True)  # those that came
    return ""


def choose_colors(scene: bpy.types.Scene, choice: str = "") -> str:
    """What the artist asks for, by default what suits the scene; gives one sentence on what was set.

    From now on the scene is not set up by itself. Raises Fault where there is no such view transform.
    """
    return _set_up(scene, choice or suited_colors(scene), mark="")


def use_colors(scene: bpy.types.Scene, choice: str) -> None:
    """Lets the scene show colours as they are, without a film's response.

    "STANDARD" mixes light, as for all other objects. "VIEWERS" mixes what displays are told, as viewers of
    splats do, and takes pixels at their centres; the view transform that leaves this alone leaves other
    objects too dark, and the filter gives them jagged edges. Raises Fault where the view transform is
    lacking.
    """
    try:
        scene.view_settings.view_transform = TRANSFORMS[choice]
    except TypeError as error:
        raise Fault(
            f"This color management has no view transform {TRANSFORMS[choice]}: choose another one yourself."
        ) from error
    for name, value in _NEUTRAL.items():
        if hasattr(scene.view_settings, name):
            setattr(scene.view_settings, name, value)
    _use_filter(scene, sharp=choice == "VIEWERS")
    _encode(_splats(scene), choice == "VIEWERS")


def _use_filter(scene: bpy.types.Scene, sharp: bool) -> None:
    owners = [(scene.render, "filter_size")]
    if hasattr(scene, "cycles"):
        owners.append((scene.cycles, "filter_width"))
    for owner, name in owners:
        if sharp:
            setattr(owner, name, _SHARP)
        elif abs(getattr(owner, name) - _SHARP) < 1e-6:
            setattr(owner, name, _SOFT)


def suited_colors(scene: bpy.types.Scene) -> str:
    """The choice for what the scene renders: "VIEWERS" where that is splats alone."""
    lit = [item for item in _rendered_in(scene) if item.type in _LIT]
    others = [item for item in lit if not is_gaussian(item) and not _is_factory_cube(item)]
    return "VIEWERS" if any(map(is_gaussian, lit)) and not others else "STANDARD"


def _rendered_in(scene: bpy.types.Scene) -> Iterator[bpy.types.Object]:
    for layer in scene.view_layers:
        if layer.use:
            yield from _rendered(layer.layer_collection)


def _rendered(
    where: bpy.types.LayerCollection | bpy.types.Collection,
) -> Iterator[bpy.types.Object]:
    """What is rendered of a view layer's collection, or of one that an object instances."""
    collection = getattr(where, "collection", where)
    if collection.hide_render or getattr(where, "exclude", False):
        return
    for item in collection.objects:
        if not item.hide_render:
            yield item
            if item.instance_type == "COLLECTION" and item.instance_collection is not None:
                yield from _rendered(item.instance_collection)
    for child in where.children:
        yield from _rendered(child)


def colors_in_use(scene: bpy.types.Scene, splats: bpy.types.Object) -> str:
    """The choice that scene and splats are set to, or "" where they show other colours."""
    encoded, transform = _is_encoded(splats), scene.view_settings.view_transform
    return next(
        (name for name in TRANSFORMS if (name == "VIEWERS") == encoded and TRANSFORMS[name] == transform), ""
    )


def _set_up(scene: bpy.types.Scene, choice: str, mark: str) -> str:
    use_colors(scene, choice)
    scene[SET_UP] = mark
    return TOLD["LIGHT" if choice == "STANDARD" and suit_preview_light() else choice]


def _is_untouched(scene: bpy.types.Scene) -> bool:
    """Whether colours and light are as Blender makes them, and nothing is rendered but what this add-on made
    and what lies in a new file."""
    view, world = scene.view_settings, scene.world
    nodes = world.node_tree.nodes if world is not None and world.node_tree is not None else ()
    return (
        scene.display_settings.display_device == "sRGB"
        and view.view_transform == _FACTORY_TRANSFORM
        and all(getattr(view, name, value) == value for name, value in _NEUTRAL.items())
        and all(node.type in ("BACKGROUND", "OUTPUT_WORLD") for node in nodes)
        and all(_is_known(item) for item in scene.objects if not item.hide_render)
    )


def _is_known(item: bpy.types.Object) -> bool:
    """Whether it is of this add-on or of a new file, or neither seen nor a light."""
    if PART in item or ASSET in item or is_gaussian(item) or item.type in _UNSEEN:
        return True
    if item.type == "EMPTY":
        return item.instance_type == "NONE"
    if item.type == "LIGHT":
        return item.name == "Light" and item.data.type == "POINT" and item.data.energy == 1000.0
    return _is_factory_cube(item)


def _is_factory_cube(item: bpy.types.Object) -> bool:
    """Whether it is the one of a new file, and still as it came."""
    return (
        item.name == "Cube"
        and item.type == "MESH"
        and len(item.data.vertices) == 8
        and not item.modifiers
        and [slot.name for slot in item.material_slots] == ["Material"]
        and all(abs(value) < 1e-6 for value in (*item.location, *item.rotation_euler))
        and all(abs(value - 1.0) < 1e-6 for value in item.scale)
    )


def _shows_as_viewers(scene: bpy.types.Scene) -> bool:
    is_raw = scene.view_settings.view_transform == TRANSFORMS["VIEWERS"]
    return is_raw and any(_is_encoded(item) for item in _splats(scene))


def _splats(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    instanced = (item for item in _rendered_in(scene) if is_local(item))
    return [item for item in dict.fromkeys([*scene.objects, *instanced]) if is_gaussian(item)]


def _is_encoded(splats: bpy.types.Object) -> bool:
    return bool(get_input(splats.modifiers[MODIFIER], ENCODED))


def _encode(items: Iterable[bpy.types.Object], encoded: bool) -> None:
    for item in items:
        set_input(item.modifiers[MODIFIER], ENCODED, encoded)
        item.update_tag()
