"""Files of finished assets for other programs, written by Blender's own exporters."""
