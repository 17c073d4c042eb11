"""The preferences as values, which also exist where the extension is not installed (scripts, tests)."""

import os
from dataclasses import dataclass
from pathlib import Path

import bpy

from .extension_paths import enabled_extension, user_folder
from .protocol import Memory


@dataclass(frozen=True)
class BackendSettings:
    """How and with what the backend runs."""

    python: str = ""  # an interpreter of the user's own; empty: find one
    models: Path | None = None  # folder of downloaded models
    mirror: str = ""  # an address that serves what the Hugging Face hub does; "": the hub itself
    background_remover: Path | None = None  # U²-Net's file; None: the backend looks for it
    device: str = "auto"
    precision: str = "auto"
    engine: str = "torch"
    memory: Memory = "auto"
    accelerator: str = "auto"  # which packages "Install Backend" takes
    own_python: bool = False  # whether it fetches a Python for them too
    wheels: str = ""  # folder of wheels to take them from without a network
    command: str = ""  # starts a backend elsewhere, instead of one of this machine
    idle_minutes: int = 0  # after which a backend without a job ends; 0: never
    keeps_pictures: bool = True  # whether an asset's pictures are packed into the .blend with it
    frames_results: bool = True  # whether the view turns to a new asset
    true_colors: bool = True  # whether a new scene is set up to show results in their own colours
    shows_previews: bool = True  # whether 3D views show an object while it is made
    points_while_moving: bool = True  # whether large sets of Gaussians become points while a view moves


def backend_settings() -> BackendSettings:
    """What the preferences say now."""
    addon = bpy.context.preferences.addons.get(enabled_extension())
    named = os.environ.get("TRELLIS_MODELS", "")  # from here; the backend starts in another folder
    models = Path(os.path.expanduser(named)).absolute() if named else user_folder() / "models"
    if addon is None or addon.preferences is None:
        return BackendSettings(models=models)
    chosen = addon.preferences
    remover = bpy.path.abspath(chosen.background_remover)
    return BackendSettings(
        python=bpy.path.abspath(chosen.python) if chosen.python else "",
        models=Path(bpy.path.abspath(chosen.models)) if chosen.models else models,
        mirror=chosen.mirror.strip(),
        background_remover=Path(remover) if remover else None,
        device=chosen.device.strip() or "auto",
        precision=chosen.precision,
        engine=chosen.engine,
        memory=chosen.memory,
        accelerator=chosen.accelerator,
        own_python=chosen.own_python,
        wheels=bpy.path.abspath(chosen.wheels) if chosen.wheels else "",
        command=chosen.command.strip(),
        idle_minutes=chosen.idle_minutes,
        keeps_pictures=chosen.keeps_pictures,
        frames_results=chosen.frames_results,
        true_colors=chosen.true_colors,
        shows_previews=chosen.shows_previews,
        points_while_moving=chosen.points_while_moving,
    )
