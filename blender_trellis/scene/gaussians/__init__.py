"""Gaussians as objects of the scene: points with attributes, the nodes that draw them, and their material."""
