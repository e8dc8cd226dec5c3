"""What makes a result this result: canonical JSON, fingerprints of code, and their acceptance."""
