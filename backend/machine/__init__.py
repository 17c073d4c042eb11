"""What this machine can do: devices, precisions, memory, threads, and its matrix peak."""
