"""Inputs: where models and corpora come from, how they are checked on arrival, and how text becomes tokens."""
