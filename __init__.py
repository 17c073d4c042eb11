"""The entry that Blender demands beside blender_manifest.toml; the add-on itself is in blender_trellis."""

from .blender_trellis import glTF2ExportUserExtension, register, unregister  # noqa: F401 (Blender's own)
