"""What the model starts from: pictures from anywhere, a sentence, how backgrounds go, presets."""

from . import cut_out, drop, list_operators, presets, sources

CLASSES = (*sources.CLASSES, *cut_out.CLASSES, *list_operators.CLASSES, *drop.CLASSES, *presets.CLASSES)
