"""Everything that follows from a config: cells, jobs, paths, specs, outputs, and the resources that jobs need."""
