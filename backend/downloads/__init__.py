"""Fetching, importing, verifying and deleting the models of the catalogue: `python -m backend models`."""
