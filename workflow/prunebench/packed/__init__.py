"""Packed models in memory: linears that keep a bitmask and the kept weights, and products with them."""
