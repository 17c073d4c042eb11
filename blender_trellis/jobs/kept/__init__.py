"""The queue as files, so that it outlives a Blender that ends in the middle of it."""
