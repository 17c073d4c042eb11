"""Many objects without a user: what is made, how it went, and the streams and options of commands.

run.py is the part inside Blender; all else is standard library only, so that the backend goes by it too.
"""
