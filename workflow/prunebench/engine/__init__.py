"""The one layer-wise loop behind every method: streamed blocks, site statistics, resume."""
