"""Searching for an allocation: the language of DSA's functions, their operations, and what they say of a model."""
