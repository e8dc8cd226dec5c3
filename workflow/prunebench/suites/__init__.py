"""Evaluation suites, one class per file. The tasks of a suite share one process, one model and one JSON file."""
