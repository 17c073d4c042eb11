"""The generation engine: a picture or a sentence in, meshes, Gaussians and radiance fields out."""
