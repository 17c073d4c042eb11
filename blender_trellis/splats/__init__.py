"""Gaussian splats as arrays: what they are, how they are moved, and their files. No bpy here."""
