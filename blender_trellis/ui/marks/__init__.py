"""What the Asset Browser is told of results: on request, of each new one or of one that is there."""

from . import operators, panel

CLASSES = (*operators.CLASSES, *panel.CLASSES)
