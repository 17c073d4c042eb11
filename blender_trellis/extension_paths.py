"""Where the extension lies and where it may write."""

import os
import tomllib
from functools import cache
from pathlib import Path

import bpy

from .faults import Fault

# What Blender calls the extension (bl_ext.<repository>.trellis); outside of its loader, this package.
EXTENSION = __package__.rpartition(".")[0] or __package__


def extension_root() -> Path:
    """The folder that holds the manifest, this package and the backend."""
    return Path(__file__).resolve().parent.parent


def enabled_extension() -> str:
    """What the extension is enabled as. A script that imports this package by its path is not the extension,
    but finds its preferences and its folder through this name."""
    enabled = (name for name in bpy.context.preferences.addons.keys() if name.startswith("bl_ext."))
    return (
        EXTENSION
        if EXTENSION.startswith("bl_ext.")
        else next((name for name in enabled if name.endswith(".trellis")), "")
    )


def user_folder(create: bool = False) -> Path:
    """The extension's own writable folder; where it is not enabled, a folder in the user's cache.

    One that cannot be there for an account without a home. Fault where it is to be made and cannot be.
    """
    extension = enabled_extension()
    own = bpy.utils.extension_path_user(extension) if extension else ""
    home = os.path.expanduser("~")
    if not own and home == "~":
        if create:
            raise Fault("This account has no home folder to write to: set the variable HOME.")
        return Path(os.devnull) / "trellis"
    folder = Path(own) if own else Path(home) / ".cache" / "trellis"
    if create:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise Fault(
                f"The folder {folder} cannot be made ({reason}): make it, or let Blender write there."
            ) from None
    return folder


@cache
def extension_version() -> str:
    """As the manifest says."""
    with open(extension_root() / "blender_manifest.toml", "rb") as file:
        return tomllib.load(file)["version"]
