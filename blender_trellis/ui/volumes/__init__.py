"""Radiance fields: files in, as volumes."""

from . import operators

CLASSES = operators.CLASSES
