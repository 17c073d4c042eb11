"""Building blocks of the networks: plain tensors in and out."""
