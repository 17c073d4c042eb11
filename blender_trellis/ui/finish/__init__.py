"""Finishing: a closed surface within a budget of faces, and a texture, beside the raw mesh."""

from . import export, operators, panel, quads

CLASSES = (*operators.CLASSES, *quads.CLASSES, *export.CLASSES, *panel.CLASSES)
