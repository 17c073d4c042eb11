"""Where the extension lies and where it may write."""

import tomllib
from functools import cache
from pathlib import Path

import bpy

# What Blender calls the extension (bl_ext.<repository>.trellis); outside of its loader, this package.
EXTENSION = __package__.rpartition(".")[0] or __package__


def extension_root() -> Path:
    """The folder that holds the manifest, this package and the backend."""
    return Path(__file__).resolve().parent.parent


def user_folder(create: bool = False) -> Path:
    """The extension's own writable folder; for a checkout, a folder in the user's cache."""
    if EXTENSION.startswith("bl_ext."):
        return Path(bpy.utils.extension_path_user(EXTENSION, create=create))
    folder = Path.home() / ".cache" / "trellis"
    if create:
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@cache
def extension_version() -> str:
    """As the manifest says."""
    with open(extension_root() / "blender_manifest.toml", "rb") as file:
        return tomllib.load(file)["version"]
