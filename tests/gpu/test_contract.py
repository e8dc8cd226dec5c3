"""The contract tests of the engine, of gradients, of every method and of SparseLLM's epochs, on a device."""

from contract.test_engine import *  # noqa: F403
from contract.test_gradients import *  # noqa: F403
from contract.test_methods import *  # noqa: F403
from contract.test_sparsellm import *  # noqa: F403
