"""Scores on objects that were never trained on; no part of the extension."""
