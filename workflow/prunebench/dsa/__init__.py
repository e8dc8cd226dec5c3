"""DSA's small language of allocation functions: expressions, operations, intervals, importances."""
