"""Shows the state of a run: the status of all its cells, and the details of one cell."""
