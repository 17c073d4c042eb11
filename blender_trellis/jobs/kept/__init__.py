"""What outlives Blender, as files: the queue, the models that a backend told of, how long stages took."""
