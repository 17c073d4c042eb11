"""Whether a request fits into the memory that is free, told before the time is spent."""
