"""Between arrays and datablocks: meshes, Gaussians, materials, export."""
