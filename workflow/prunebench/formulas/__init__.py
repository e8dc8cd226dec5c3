"""The maths below methods and allocators: pure functions on tensors, readable beside the papers."""
