"""The options of a command that fills an asset library."""

import argparse
from pathlib import Path

from ...faults import Fault
from ...scene.asset_marking import AssetMarks
from .asset_library import AssetLibrary


def library_of(options: argparse.Namespace, output: Path) -> AssetLibrary | None:
    """The asset library to fill, ready to be written to; None where none is asked for. Raises Fault."""
    if getattr(options, "asset_library", None) is None:
        return None
    folder = options.asset_library.resolve()
    if folder == output:
        raise Fault("The asset library cannot be the output folder too: choose another one for it.")
    tags = tuple(tag.strip() for text in options.tags for tag in text.split(",") if tag.strip())
    library = AssetLibrary(folder, AssetMarks(options.author, options.license, tags), options.catalog)
    library.prepare()
    return library
