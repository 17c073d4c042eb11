"""The starter's text model: its recipe and its sentences."""
