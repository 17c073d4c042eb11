"""From meshes to what the encoders of a model folder read of them, and on to latents."""
