"""The report: everything about a config's studies as one file that opens from disk."""
