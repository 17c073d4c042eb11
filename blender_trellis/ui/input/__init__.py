"""What the model starts from: pictures from anywhere, a sentence, how backgrounds go, presets."""

from . import drop, list_operators, sources

CLASSES = (*sources.CLASSES, *list_operators.CLASSES, *drop.CLASSES)
