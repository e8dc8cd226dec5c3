"""What every job does first and last: arguments, threads, GPUs, locks, progress, provenance."""
