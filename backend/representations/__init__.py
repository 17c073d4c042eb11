"""What comes out of the decoders: meshes, Gaussians, radiance fields, and their files."""
