"""The contract tests of searches, on CUDA."""

from contract.test_search import *  # noqa: F403
