"""Dense: the model as it is, the reference row of every table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from prunebench.engine.contract import BlockResult, Method

if TYPE_CHECKING:
    from prunebench.engine.block import BlockView


class Dense(Method):
    """Changes nothing. A method like any other, so that the dense row takes the same path as every other row.

    In particular its weights are rounded to the `dtype` of the model's entry before they are evaluated, as all are. It
    has no sparsity, calibration or seed: however many a grid lists, it is computed once.
    """

    name = "dense"
    title = "Dense"
    uses: ClassVar[frozenset[str]] = frozenset()
    baseline = True

    def prune_block(self, block: BlockView, *_: Any) -> BlockResult:
        """No linear changes."""
        return BlockResult({})
