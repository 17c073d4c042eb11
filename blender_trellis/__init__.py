"""The add-on. Imports bpy on registration only, so that the backend can import the protocol from here."""


def register() -> None:
    """Adds classes, settings and session; starts nothing."""
    import bpy

    from .jobs import session
    from .scene.gaussians import moved_vertices
    from .ui import preview_drawing, thumbnails
    from .ui.properties import TrellisSettings
    from .ui.region import drawing
    from .ui.splats import moving
    from .ui.splats.operators import add_menus
    from .ui.volumes import operators as volumes

    for cls in _classes():
        bpy.utils.register_class(cls)
    bpy.types.Scene.trellis = bpy.props.PointerProperty(type=TrellisSettings)
    add_menus()
    for room in (session, thumbnails, drawing, preview_drawing, moving, moved_vertices, volumes):
        room.begin()


def unregister() -> None:
    """Ends the backend and takes everything away again."""
    import bpy

    from .jobs import session
    from .scene.gaussians import moved_vertices
    from .ui import preview_drawing, thumbnails
    from .ui.region import drawing
    from .ui.splats import moving
    from .ui.splats.operators import remove_menus
    from .ui.volumes import operators as volumes

    for room in (volumes, moved_vertices, moving, preview_drawing, drawing, thumbnails, session):
        room.end()
    remove_menus()
    del bpy.types.Scene.trellis
    for cls in reversed(_classes()):
        bpy.utils.unregister_class(cls)


def _classes() -> tuple[type, ...]:
    from .ui import (
        asset_operators,
        finish,
        job_operators,
        model_menu,
        operators,
        panels,
        preferences,
        properties,
        queue_panel,
        region,
        splats,
        vary,
        volumes,
    )

    rooms = (
        properties,
        preferences,
        operators,
        asset_operators,
        splats,
        job_operators,
        model_menu,
        panels,
        region,
        vary,
        finish,
        queue_panel,
        volumes,
    )
    return tuple(cls for room in rooms for cls in room.CLASSES)
