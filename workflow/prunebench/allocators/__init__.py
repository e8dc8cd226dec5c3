"""Allocators, one class per file: how sparse each matrix is so that the whole meets the target."""
