"""One published checkpoint class each: a frozen config and a module."""
