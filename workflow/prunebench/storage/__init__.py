"""Bytes on disk, bit by bit: files, tensors, packed weights, and what a killed job goes on from."""
