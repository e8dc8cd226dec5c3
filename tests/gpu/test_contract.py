"""The contract tests of the engine and of every method, on CUDA."""

from contract.test_engine import *  # noqa: F403
from contract.test_methods import *  # noqa: F403
