"""The add-on. Imports bpy on registration only, so that the backend can import the protocol from here."""


def register() -> None:
    """Adds classes, settings and session; starts nothing."""
    import bpy

    from .jobs import session
    from .ui.properties import TrellisSettings

    for cls in _classes():
        bpy.utils.register_class(cls)
    bpy.types.Scene.trellis = bpy.props.PointerProperty(type=TrellisSettings)
    session.begin()


def unregister() -> None:
    """Ends the backend and takes everything away again."""
    import bpy

    from .jobs import session

    session.end()
    del bpy.types.Scene.trellis
    for cls in reversed(_classes()):
        bpy.utils.unregister_class(cls)


def _classes() -> tuple[type, ...]:
    from .ui import asset_operators, operators, panels, preferences, properties

    return (
        *properties.CLASSES,
        *preferences.CLASSES,
        *operators.CLASSES,
        *asset_operators.CLASSES,
        *panels.CLASSES,
    )
