"""The starter model: its recipe, its autoencoders, and how it is measured and written."""
