"""Pruning methods, one class per file; `masks.py` and `scores.py` hold the formulas they share."""
