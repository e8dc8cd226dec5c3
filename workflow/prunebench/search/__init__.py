"""Searching for an allocation: DSA's language of functions, how candidates are proposed, and how they are judged."""
