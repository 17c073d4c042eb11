"""Meshes that were not generated: what the backend is sent of them, and colours that it sends for them."""
