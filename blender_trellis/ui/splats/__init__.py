"""Gaussians: files in and out, edits, how they are shown, and points while a view moves."""

from . import operators

CLASSES = operators.CLASSES
