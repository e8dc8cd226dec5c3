"""Plain float64 versions of the formulas, written for reading, to compare the package with."""
