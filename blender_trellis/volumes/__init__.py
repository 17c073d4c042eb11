"""Radiance fields: their files, and density and colour on a grid; numpy only, no bpy."""
