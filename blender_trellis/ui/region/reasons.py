"""Why a region cannot be regenerated: one sentence each, before any job starts."""

import bpy

from ...editing.effects import repeats_itself
from ...editing.region_check import EVERYTHING, why_not
from ...editing.region_objects import asset_of, world_length
from ...faults import Fault
from ...jobs import session
from ...protocol import ModelInfo
from ...scene.find_asset import ASSET, IN_EDIT_MODE, LINKED, is_in_edit_mode, is_local, members
from .drawing import Taken, taken_by
from .guide import has_own_guide, is_edited
from .settings import OWN, PAINTED, PICTURE, SENTENCE, TrellisRegionSettings

NO_REGION = "Add a region to the asset first"


def why_not_now(context: bpy.types.Context) -> str:
    """Why the region cannot be regenerated now, one sentence; empty where it can."""
    if not session.has_backend():
        return "Install the backend first"
    collection = asset_of(context.object, context.scene)
    if collection is None:
        return "Select an asset or one of its regions"
    if not is_local(collection):
        return LINKED
    if session.is_being_edited(str(collection.get(ASSET))):
        return "This asset is being changed: wait for that, or cancel it"
    if is_in_edit_mode(members(collection)):
        return IN_EDIT_MODE
    try:
        taken = taken_by(collection, context.view_layer)
    except Fault as fault:
        return str(fault)
    if taken is None:
        return NO_REGION
    settings = context.scene.trellis.region
    info = session.model_info(taken.latents.model)
    reason = _why_not_there(taken, collection, settings)
    if reason:
        return reason
    if info is None:
        return (
            f'The asset was made by the model "{taken.latents.model}", which is not here: install it, or '
            "generate the asset anew."
        )
    return _why_not_guide(collection, settings, info)


def is_around_everything(reason: str) -> bool:
    """Whether plain generation is what the artist wants."""
    return reason == EVERYTHING


def _why_not_there(taken: Taken, collection: bpy.types.Collection, settings: TrellisRegionSettings) -> str:
    way = taken.shape.distance()
    if way.any():
        far = bpy.utils.units.to_string(
            bpy.context.scene.unit_settings.system, "LENGTH", world_length(way, collection), precision=3
        )
        return f"The region lies {far} outside of the asset's space: move it onto the asset."
    count = len(taken.latents.arrays["coords"])
    return why_not(taken.mask, taken.own, count, settings.mode, taken.has_structure)


def _why_not_guide(collection: bpy.types.Collection, settings: TrellisRegionSettings, info: ModelInfo) -> str:
    if settings.mode == "remove":
        return ""
    takes = info.takes or ("pictures", "text")
    wanted = (
        "pictures" if settings.guide in (PICTURE, PAINTED) else "text" if settings.guide == SENTENCE else ""
    )
    if wanted and wanted not in takes:
        other = "a picture" if wanted == "text" else "a sentence"
        return (
            f'The model "{info.name}" takes no {"sentence" if wanted == "text" else "picture"}: give {other}'
        )
    missing = {
        PICTURE: "" if settings.image else "Choose a picture of the whole asset",
        PAINTED: "" if settings.painted else "Paint the change first",
        SENTENCE: "" if settings.prompt.strip() else "Describe the whole asset in the sentence",
        OWN: "",
    }[settings.guide]
    if missing or settings.guide != OWN:
        return missing
    if not has_own_guide(collection):
        return "The asset has no picture of its own: choose one"
    if repeats_itself(info) and not is_edited(collection):
        return "This model does nearly the same for every seed: give a picture that shows the change"
    return ""
