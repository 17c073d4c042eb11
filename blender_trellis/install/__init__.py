"""The packages that the backend needs, and whether they work. No bpy."""
