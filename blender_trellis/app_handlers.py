"""What Blender calls of the add-on at certain moments, and no longer once it is disabled."""

from collections.abc import Callable, Iterable

Handler = Callable[..., None]


def hook(call: Handler, moments: Iterable[list[Handler]]) -> None:
    """Has `call` called at these of Blender's `bpy.app.handlers`."""
    for handlers in moments:
        handlers.append(call)


def unhook(call: Handler, moments: Iterable[list[Handler]]) -> None:
    """Takes it away again."""
    for handlers in moments:
        if call in handlers:  # scripts clear them
            handlers.remove(call)
