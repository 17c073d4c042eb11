"""The two-stage flow of TRELLIS (arXiv 2412.01506): condition -> meshes, Gaussians, radiance fields."""
