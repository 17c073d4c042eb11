"""Changing a region of an asset: the voxels it takes, what is asked of the backend, what is painted over."""
