"""Where huggingface_hub keeps its downloads."""

import os
from pathlib import Path


def hub_caches() -> tuple[Path, ...]:
    """The folders that its own environment variables name, and its default; the likeliest first.

    Those of a home that is not known are left out.
    """
    set_to = (os.environ.get("HF_HUB_CACHE"), os.environ.get("HUGGINGFACE_HUB_CACHE"))
    places = [Path(place) for place in set_to if place]
    for variable, below in (("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")):
        if place := os.environ.get(variable):
            places.append(Path(place) / below)
    places.append(Path("~/.cache/huggingface/hub"))
    known = (os.path.expanduser(place) for place in places)  # pathlib raises where there is no home
    return tuple(dict.fromkeys(Path(place) for place in known if not place.startswith("~")))
