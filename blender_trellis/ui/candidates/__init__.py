"""Shapes to choose from before anything is finished: drawn side by side, picked by a click."""

from . import gizmo, operators, panel

CLASSES = (*operators.CLASSES, *gizmo.CLASSES, *panel.CLASSES)
