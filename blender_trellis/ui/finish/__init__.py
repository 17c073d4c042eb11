"""Finishing: a closed surface within a budget of faces, and a texture, beside the raw mesh."""

from . import operators, panel

CLASSES = (*operators.CLASSES, *panel.CLASSES)
