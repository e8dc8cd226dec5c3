"""The identity of results: canonical JSON of specs, fingerprints of code, and accepted changes of code."""
