"""Inputs: the sources of models, corpora and tasks, checks on arrival, and the way of text to tokens."""
