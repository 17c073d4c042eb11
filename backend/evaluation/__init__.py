"""Scores on objects that were never trained on; needs the training code and is no part of the extension."""
