"""Paper-style tables, made from results/cells.csv alone."""
