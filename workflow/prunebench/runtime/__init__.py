"""The first and the last steps of every job: arguments, threads, GPUs, progress, provenance."""
