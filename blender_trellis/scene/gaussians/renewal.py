"""Brings objects of Gaussians that former versions of the add-on made up to this one, where a file is opened
or appended from.

A group or material that an artist has changed stays, and so does what a library holds: such objects keep
their look. Undo may lead to a state before the renewal, which is then done again.
"""

import bpy

from ...app_handlers import hook, unhook
from .material import renew_material
from .nodes import GROUP_VERSION, SIZE, get_input, input_of, set_input, version_of
from .object import MODIFIER, is_gaussian, use_nodes

# How many nodes and links former versions' groups have: up to version 3 without harmonics, and with them
# more, by degree; since then with those of each degree.
_MADE = {
    1: {(34, 40)},
    2: {(94, 121), (108, 143)},
    3: {(198, 291)},
    4: {(267, 399), (414, 631), (461, 692), (538, 795)},
    5: {(270, 405), (417, 637), (464, 698), (541, 801)},
}
_HARMONICS = ((0, 0), (27, 29), (74, 90), (151, 193))


def begin() -> None:
    """On registration: looks after every file from now on, and soon after the open one."""
    hook(_look, _moments())
    bpy.app.timers.register(_renew_open, first_interval=0.0)  # add-ons may not touch it now


def end() -> None:
    """On unregistration."""
    unhook(_look, _moments())
    if bpy.app.timers.is_registered(_renew_open):
        bpy.app.timers.unregister(_renew_open)


def renew(item: bpy.types.Object) -> bool:
    """Draws an object of Gaussians by the nodes and the material of this version, its settings kept.

    Returns whether there was something to do and it could be done.
    """
    modifier = item.modifiers[MODIFIER]
    tree = modifier.node_group
    version = version_of(tree)
    if version == GROUP_VERSION or not _is_as_made(tree) or not item.is_editable or item.override_library:
        return False
    material = get_input(modifier, "Material")
    if material is None or not renew_material(material):
        return False
    size = get_input(modifier, SIZE)
    use_nodes(item, _degree(item.data))
    # Version 1 has another size in its place, the first of version 2 measured it otherwise.
    share = 1.0 if size is None else size / input_of(tree, SIZE).default_value
    set_input(modifier, SIZE, share * input_of(modifier.node_group, SIZE).default_value)
    if version == 1 and not modifier.show_viewport:  # it hid splats so
        modifier.show_viewport = item.hide_viewport = True
        item.display_type = "TEXTURED"
    item.update_tag()
    return True


def _is_as_made(tree: bpy.types.NodeTree) -> bool:
    size = (len(tree.nodes), len(tree.links))
    made = _MADE.get(version_of(tree), ())
    return any((size[0] - nodes, size[1] - links) in made for nodes, links in _HARMONICS)


def _degree(mesh: bpy.types.Mesh) -> int:
    """Up to which degree the mesh's splats have harmonics."""
    return next(
        (degree for degree in (3, 2, 1) if f"f_rest_{3 * (degree + 1) ** 2 - 4}" in mesh.attributes), 0
    )


def _moments() -> tuple[list, ...]:
    handlers = bpy.app.handlers
    return handlers.load_post, handlers.depsgraph_update_post, handlers.undo_post, handlers.redo_post


@bpy.app.handlers.persistent
def _look(_: object, depsgraph: bpy.types.Depsgraph | None = None) -> None:
    """Files and steps of undo whole; else what has just come, as what is appended does."""
    if depsgraph is None:
        items = list(bpy.data.objects)
    else:
        changed = (one.id.original for one in depsgraph.updates if one.is_updated_geometry)
        items = [one for one in changed if isinstance(one, bpy.types.Object) and one.mode == "OBJECT"]
    for item in items:
        if is_gaussian(item):
            renew(item)


def _renew_open() -> None:
    _look(None)
