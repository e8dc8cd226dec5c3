"""The report, which shows everything about a config's studies in one file that opens from disk."""
