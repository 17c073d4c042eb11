"""The life of a child process: start, talk, watch, log. No bpy."""
