"""Readers of mesh files, one module a format."""
