"""The layer-wise loop that runs every method: streamed blocks, statistics of sites, the contract of a method."""
