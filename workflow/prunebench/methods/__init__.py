"""Pruning methods, one class per file. The formulas that they share are in `prunebench.formulas`."""
