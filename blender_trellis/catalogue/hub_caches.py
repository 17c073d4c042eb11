"""Where huggingface_hub keeps its downloads."""

import os
from pathlib import Path


def hub_caches() -> tuple[Path, ...]:
    """The folders that its own environment variables name, and its default; the likeliest first."""
    home = Path.home() / ".cache"
    set_to = (os.environ.get("HF_HUB_CACHE"), os.environ.get("HUGGINGFACE_HUB_CACHE"))
    places = [Path(place).expanduser() for place in set_to if place]
    for variable, below in (("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")):
        if place := os.environ.get(variable):
            places.append(Path(place).expanduser() / below)
    return tuple(dict.fromkeys((*places, home / "huggingface" / "hub")))
