"""Finishing: a decoder's raw mesh becomes one closed surface within a budget of faces."""
