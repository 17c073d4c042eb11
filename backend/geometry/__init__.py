"""Meshes as geometry: files, voxels, distances, views and rasterisers. Knows no model."""
