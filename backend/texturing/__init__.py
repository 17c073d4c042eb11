"""Texture maps for meshes: unwrapping, and baking what Gaussians, vertex colours and pictures tell."""
