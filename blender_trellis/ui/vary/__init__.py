"""Variants of assets and of any mesh of the scene: the panel, its settings and buttons."""

from . import operators, panel

CLASSES = (*operators.CLASSES, *panel.CLASSES)
