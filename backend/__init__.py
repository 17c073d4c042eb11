"""The generation engine: one picture or sentence in, meshes, Gaussians and radiance fields out. Never imports bpy."""
