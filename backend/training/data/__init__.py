"""What training learns from: prepared objects and batches."""
