"""The preferences as values, which also exist where the extension is not installed (scripts, tests)."""

from dataclasses import dataclass
from pathlib import Path

import bpy

from .extension_paths import enabled_extension, user_folder


@dataclass(frozen=True)
class BackendSettings:
    """How and with what the backend runs."""

    python: str = ""  # an interpreter of the user's own; empty: find one
    models: Path | None = None  # folder of downloaded models
    device: str = "auto"
    precision: str = "auto"
    accelerator: str = "cpu"  # which packages "Install Backend" takes


def backend_settings() -> BackendSettings:
    """What the preferences say now."""
    addon = bpy.context.preferences.addons.get(enabled_extension())
    if addon is None or addon.preferences is None:
        return BackendSettings(models=user_folder() / "models")
    chosen = addon.preferences
    return BackendSettings(
        python=bpy.path.abspath(chosen.python) if chosen.python else "",
        models=Path(bpy.path.abspath(chosen.models)) if chosen.models else user_folder() / "models",
        device=chosen.device.strip() or "auto",
        precision=chosen.precision,
        accelerator=chosen.accelerator,
    )
