"""Regions of an asset: the box and its gizmo, the voxels it takes, and the panel that regenerates them."""

from . import gizmo, operators, panel

CLASSES = (*operators.CLASSES, *gizmo.CLASSES, *panel.CLASSES)
