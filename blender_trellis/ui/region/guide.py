"""What shows the model how the whole asset should be, from the settings and from what the asset carries."""

import json
from typing import get_args

import bpy

from ...editing.edit_request import Guide
from ...picture_source import Picture, read_image
from ...protocol import EditMode
from ...scene.latents import PICTURE as OWN_PICTURE
from ...scene.latents import read_pictures
from ...scene.replace import background_of, history_of
from .settings import PAINTED, PICTURE, SENTENCE, TrellisRegionSettings


def guide_of(collection: bpy.types.Collection, settings: TrellisRegionSettings) -> Guide:
    """The pictures or the sentence. Fault where a picture cannot be read."""
    if settings.mode == "remove":
        return Guide()
    if settings.guide == SENTENCE:
        return Guide(prompt=settings.prompt)
    if settings.guide in (PICTURE, PAINTED):
        return Guide((read_image(settings.image if settings.guide == PICTURE else settings.painted),))
    return own_guide(collection)


def own_guide(collection: bpy.types.Collection) -> Guide:
    """The pictures that are kept with the asset, or the sentence that it was made from."""
    pictures = tuple(Picture(name, data) for name, data in read_pictures(collection))
    if pictures:
        return Guide(pictures, background=background_of(collection))
    return Guide(prompt=_own_prompt(collection))


def has_own_guide(collection: bpy.types.Collection) -> bool:
    """Whether the asset carries the picture or sentence that it was made from."""
    return f"{OWN_PICTURE}0" in collection or bool(_own_prompt(collection))


def _own_prompt(collection: bpy.types.Collection) -> str:
    return str(json.loads(collection.get("trellis_parameters", "{}")).get("prompt", ""))


def is_edited(collection: bpy.types.Collection) -> bool:
    """Whether the asset was changed since it was generated, so that its own picture shows something else."""
    return any(step.get("mode") in get_args(EditMode) for step in history_of(collection))
