"""A few contract tests on a device in the default run. `make test-device` runs all that open a model."""

from contract.test_engine import (  # noqa: F401
    test_a_method_can_learn_through_trial_weights,
    test_losses_are_those_of_transformers,
    test_only_one_block_is_in_memory,
    test_the_dense_stream_is_the_dense_model,
    test_true_sequential_statistics_see_the_sites_already_pruned,
)
from contract.test_external import pair, test_the_result_computes_what_the_checkpoint_computes  # noqa: F401
from contract.test_gradients import test_more_windows_add_squares  # noqa: F401
