"""prunebench: a benchmark of LLM pruning. Importing this package is cheap; torch is imported only where it is used."""

__version__ = "0.1.0"
