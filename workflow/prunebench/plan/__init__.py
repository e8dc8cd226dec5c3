"""What follows from a config: cells, jobs, paths, specs, outputs, and what jobs ask of the machine."""
