"""Getting the backend: what it needs, how far it has come, whether it works, and how it goes again."""

from . import operators

CLASSES = operators.CLASSES
