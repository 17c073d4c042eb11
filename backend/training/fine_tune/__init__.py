"""Training an existing model further on a user's own objects."""
