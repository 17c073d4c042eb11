"""Many pictures without a user."""
