"""The add-on. Imports bpy on registration only, so that the backend can import the protocol from here."""

from types import ModuleType
from typing import Any


class glTF2ExportUserExtension:  # Blender's glTF exporter looks for this name in add-ons
    """Keeps the scene's settings, which name the user's files and folders, out of glTF files."""

    def gather_scene_hook(self, scene: Any, blender_scene: Any, export_settings: Any) -> None:
        """Called with what becomes of a scene; what nodes and meshes hold besides stays."""
        if scene.extras:
            scene.extras.pop("trellis", None)


def register() -> None:
    """Adds classes, settings and what runs beside them; starts no backend."""
    import bpy

    from .ui.properties import TrellisSettings
    from .ui.splats.operators import add_menus

    for cls in _classes():
        bpy.utils.register_class(cls)
    bpy.types.Scene.trellis = bpy.props.PointerProperty(type=TrellisSettings)
    add_menus()
    for room in _living():
        room.begin()


def unregister() -> None:
    """Ends the backend and takes everything away again."""
    import bpy

    from .ui.splats.operators import remove_menus

    for room in reversed(_living()):
        room.end()
    remove_menus()
    del bpy.types.Scene.trellis
    for cls in reversed(_classes()):
        bpy.utils.unregister_class(cls)


def _living() -> tuple[ModuleType, ...]:
    """What begins with the registration and ends with it: timers, handlers, drawing."""
    from . import translations
    from .jobs import session
    from .scene.gaussians import moved_vertices, renewal
    from .ui import preview_drawing, thumbnails
    from .ui.candidates import drawing as candidate_drawing
    from .ui.region import drawing as region_drawing
    from .ui.running import status_bar
    from .ui.splats import moving
    from .ui.volumes import operators as volumes

    return (
        translations,
        session,
        thumbnails,
        region_drawing,
        preview_drawing,
        candidate_drawing,
        status_bar,
        moving,
        renewal,
        moved_vertices,
        volumes,
    )


def _classes() -> tuple[type, ...]:
    from .ui import (
        asset_operators,
        candidates,
        finish,
        input,
        install,
        job_operators,
        marks,
        model_menu,
        models,
        operators,
        panels,
        preferences,
        properties,
        queue_panel,
        region,
        remedies,
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
        input,
        remedies,
        panels,
        candidates,
        models,
        region,
        vary,
        marks,
        finish,
        install,
        queue_panel,
        volumes,
    )
    return tuple(cls for room in rooms for cls in room.CLASSES)
