"""Objects made at random, beside those of the training folder."""
