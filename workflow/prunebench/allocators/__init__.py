"""Allocators, one class per file. An allocator says how sparse each matrix is, such that the whole meets the target."""
