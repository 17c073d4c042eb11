"""blender_assets.cats.txt: the tree of catalogues of an asset library. Standard library only.

Lines are "UUID:path/of/the/catalogue:simple name"; see Blender's manual, Asset Catalogs.
"""

import re
import uuid
from collections.abc import Sequence

from ..plan import portable

NAME = "blender_assets.cats.txt"
SIMPLE_BYTES = 63  # Blender's limit of a simple name
_HEADER = """\
# This is an Asset Catalog Definition file for Blender.
#
# Empty lines and lines starting with `#` will be ignored.
# The first non-ignored line should be the version indicator.
# Other lines are of the format "UUID:catalog/path/for/assets:simple catalog name"

VERSION 1

"""
_LINE = re.compile(r"\s*([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}):([^:]*)")
_SPACE = uuid.UUID("6c29d4a4-3f3e-4b55-9a3c-0c1f9d4b7b11")  # the product's own, for UUIDs of paths


def clean_path(parts: Sequence[str]) -> str:
    """The path of a catalogue, from names that may hold what a path may not; empty where nothing is left."""
    kept = (re.sub(r'[:\\"\x00-\x1f\x7f]', "_", portable(part)).strip() for part in parts)
    return "/".join(part for part in kept if part)


def with_catalog(text: str, path: str) -> tuple[str, str]:
    """(UUID of the catalogue of this path, the file's text in which it is listed).

    What the text holds already stays as it is. A new catalogue's UUID depends on its path only, so that runs
    and machines agree; the catalogues above it are listed too.
    """
    known = {match[2].strip("/ "): match[1].lower() for match in map(_LINE.match, text.splitlines()) if match}
    if path in known:
        return known[path], text
    new = []
    steps = path.split("/")
    for depth in range(1, len(steps) + 1):
        part = "/".join(steps[:depth])
        if part not in known:
            known[part] = str(uuid.uuid5(_SPACE, part))
            new.append(f"{known[part]}:{part}:{_simple(part)}\n")
    if new:
        text = (text if text.endswith("\n") else text + "\n") if text.strip() else _HEADER
    return known[path], text + "".join(new)


def _simple(path: str) -> str:
    name = path.replace("/", "-").encode("utf-8")
    return name[-SIMPLE_BYTES:].decode("utf-8", "ignore")
