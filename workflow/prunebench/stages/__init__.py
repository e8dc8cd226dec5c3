"""The stages, one module per rule of the DAG. Each reads files, calls the package, and writes files."""
