"""`python -m backend texture`: a mesh file gets a texture of Gaussians and pictures."""

from backend.texture.command import main

__all__ = ["main"]
