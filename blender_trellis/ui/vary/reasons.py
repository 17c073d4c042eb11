"""Why nothing can be varied, one sentence each, before any job starts; and what guides variants."""

import bpy

from ...editing.edit_request import Guide
from ...editing.effects import repeats_itself
from ...jobs import session
from ...meshes.recolor import why_not_recolored
from ...picture_source import read_image
from ...protocol import ModelInfo
from ...scene.find_asset import IN_EDIT_MODE, is_in_edit_mode, members
from ...scene.latents import DATA, LATENTS
from ..region.guide import has_own_guide, own_guide
from .request import Selected, selected
from .settings import OWN, PICTURE, SENTENCE, TrellisVarySettings


def guide_of(chosen: Selected, settings: TrellisVarySettings) -> Guide:
    """The pictures or the sentence. Fault where a picture cannot be read."""
    if settings.guide == SENTENCE:
        return Guide(prompt=settings.prompt)
    if settings.guide == PICTURE or chosen.asset is None:
        return Guide((read_image(settings.image),))
    return own_guide(chosen.asset)


def model_of(chosen: Selected, context: bpy.types.Context) -> str:
    """The model that made the asset, or that is chosen for all else."""
    if chosen.asset is not None:
        return str(chosen.asset.get("trellis_model", ""))
    return str(context.scene.trellis.model)


def why_not_vary(context: bpy.types.Context) -> str:
    """Why there can be no variants now; empty where there can."""
    chosen = selected(context)
    reason = _why_nothing(chosen)
    if reason:
        return reason
    if chosen.asset is not None and LATENTS not in (chosen.asset.get(DATA) or {}):
        return f'"{chosen.name}" does not carry what it was made of: make its mesh editable, or generate anew'
    if chosen.asset is not None and is_in_edit_mode(members(chosen.asset)):
        return IN_EDIT_MODE
    info = session.model_info(model_of(chosen, context))
    return _why_not_guide(chosen, context.scene.trellis.vary, info)


def why_not_encode(context: bpy.types.Context) -> str:
    """Why the selection cannot be made editable now."""
    chosen = selected(context)
    if chosen.asset is not None:
        return f'"{chosen.name}" is an asset, which can be edited already'
    return _why_nothing(chosen)


def why_not_retexture(context: bpy.types.Context) -> str:
    """Why the selection cannot be coloured now."""
    chosen = selected(context)
    reason = why_not_encode(context)
    if reason:
        return reason
    info = session.model_info(model_of(chosen, context))
    return why_not_recolored(chosen.objects) or _why_not_guide(chosen, context.scene.trellis.vary, info)


def _why_nothing(chosen: Selected) -> str:
    if not session.has_backend():
        return "Install the backend first"
    if chosen.asset is None and not chosen.objects:
        return "Select an asset, or objects with a surface"
    return ""


def _why_not_guide(chosen: Selected, settings: TrellisVarySettings, info: ModelInfo | None) -> str:
    takes = info.takes if info is not None and info.takes else ("pictures", "text")
    guide = settings.guide
    if guide == SENTENCE and "text" not in takes:
        return "This model takes no sentence: give a picture"
    if guide == PICTURE and "pictures" not in takes:
        return "This model takes no picture: give a sentence"
    if guide == SENTENCE:
        return "" if settings.prompt.strip() else "Describe the whole object in the sentence"
    if guide == PICTURE:
        return "" if settings.image else "Choose a picture of the whole object"
    if chosen.asset is None:
        return "A mesh has no picture of its own: choose one, or write a sentence"
    if guide == OWN and not has_own_guide(chosen.asset):
        return "The asset has no picture of its own: choose one"
    if repeats_itself(info):
        return "This model does nearly the same for every seed: give another picture or sentence"
    return ""
