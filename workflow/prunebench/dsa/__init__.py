"""DSA's small language of allocation functions: its text, its operations, their intervals, and importances."""
