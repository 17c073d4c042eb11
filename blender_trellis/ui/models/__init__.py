"""The list of models, which downloads, imports, verifies and deletes them."""

from . import operators, panel

CLASSES = (*operators.CLASSES, *panel.CLASSES)
