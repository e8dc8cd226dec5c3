"""The maths of methods and allocators: pure functions on tensors, readable beside the papers."""
