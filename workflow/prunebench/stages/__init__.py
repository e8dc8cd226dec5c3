"""One module per rule of the DAG: each reads files, calls the package, and writes files."""
