"""The add-on. Imports bpy on registration only, so that the backend can import the protocol from here."""


def register() -> None:
    """Adds classes, settings and session; starts nothing."""
    import bpy

    from .jobs import session
    from .ui import preview_drawing, thumbnails
    from .ui.properties import TrellisSettings
    from .ui.region import drawing
    from .ui.splat_operators import add_menus

    for cls in _classes():
        bpy.utils.register_class(cls)
    bpy.types.Scene.trellis = bpy.props.PointerProperty(type=TrellisSettings)
    add_menus()
    for room in (session, thumbnails, drawing, preview_drawing):
        room.begin()


def unregister() -> None:
    """Ends the backend and takes everything away again."""
    import bpy

    from .jobs import session
    from .ui import preview_drawing, thumbnails
    from .ui.region import drawing
    from .ui.splat_operators import remove_menus

    for room in (preview_drawing, drawing, thumbnails, session):
        room.end()
    remove_menus()
    del bpy.types.Scene.trellis
    for cls in reversed(_classes()):
        bpy.utils.unregister_class(cls)


def _classes() -> tuple[type, ...]:
    from .ui import (
        asset_operators,
        finish,
        input,
        job_operators,
        model_menu,
        operators,
        panels,
        preferences,
        properties,
        queue_panel,
        region,
        splat_operators,
        vary,
    )

    rooms = (
        properties,
        preferences,
        operators,
        asset_operators,
        splat_operators,
        job_operators,
        model_menu,
        input,
        panels,
        region,
        vary,
        finish,
        queue_panel,
    )
    return tuple(cls for room in rooms for cls in room.CLASSES)
