"""Interface texts in other languages, through Blender's translation system.

A language is a JSON file beside this one, named as Blender names it: English text to translation. Sentences
with values in them stand there with numbered places, "{0} splats saved".
"""

import json
from functools import cache
from pathlib import Path

import bpy

from .sentences import Sentences

CONTEXTS = ("*", "Operator")  # where Blender looks for labels, and for names of operators
_DOMAIN = __name__


def begin() -> None:
    """On registration: Blender shows our texts in its own language from now on."""
    entries = {
        language: {(context, text): said for text, said in texts(language).items() for context in CONTEXTS}
        for language in languages()
    }
    bpy.app.translations.register(_DOMAIN, entries)


def end() -> None:
    """On unregistration."""
    bpy.app.translations.unregister(_DOMAIN)


def languages() -> tuple[str, ...]:
    """Those that there are files of, as Blender names them."""
    return tuple(sorted(file.stem for file in Path(__file__).parent.glob("*.json")))


@cache
def texts(language: str) -> dict[str, str]:
    """English text to translation."""
    return json.loads(Path(__file__).with_name(f"{language}.json").read_text("utf-8"))


def translated(text: str) -> str:
    """The text as the interface shall show it, for texts with values in them and sentences from the backend.

    In English, or where there is no translation, as it is. Blender itself looks up labels without values.
    """
    language = bpy.app.translations.locale
    shown = bpy.context.preferences.view.use_translate_interface
    return _sentences(language).translated(text) if shown and language in languages() else text


@cache
def _sentences(language: str) -> Sentences:
    return Sentences(texts(language))
