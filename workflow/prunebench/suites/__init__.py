"""Evaluation suites, one class per file: the tasks of a suite share one process, one model, one JSON."""
