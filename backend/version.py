"""The product's version, as the manifest of the extension says it."""

import tomllib
from pathlib import Path

_MANIFEST = Path(__file__).parents[1] / "blender_manifest.toml"
VERSION: str = tomllib.loads(_MANIFEST.read_text())["version"]
