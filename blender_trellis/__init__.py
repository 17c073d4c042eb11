"""The add-on. Imports bpy on registration only, so that the backend can import the protocol from here."""


def register() -> None:
    """Adds classes, settings and session; starts nothing."""
    import bpy

    from .jobs import session
    from .ui.properties import TrellisSettings
    from .ui.splat_operators import add_menus

    for cls in _classes():
        bpy.utils.register_class(cls)
    bpy.types.Scene.trellis = bpy.props.PointerProperty(type=TrellisSettings)
    add_menus()
    session.begin()


def unregister() -> None:
    """Ends the backend and takes everything away again."""
    import bpy

    from .jobs import session
    from .ui.splat_operators import remove_menus

    session.end()
    remove_menus()
    del bpy.types.Scene.trellis
    for cls in reversed(_classes()):
        bpy.utils.unregister_class(cls)


def _classes() -> tuple[type, ...]:
    from .ui import operators, panels, preferences, properties, splat_operators

    rooms = (properties, preferences, operators, splat_operators, panels)
    return tuple(cls for room in rooms for cls in room.CLASSES)
