"""Bytes on disk: files, locks, tensors, packed weights, and the finished pieces from which a killed job goes on."""
