"""Model folders and their checkpoints: found, checked, read and written."""
