"""Where tensors lie: devices, memory, files."""
