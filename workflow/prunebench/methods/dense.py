"""Dense: the unpruned model, the reference row of every table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from prunebench.engine.contract import BlockResult, Method

if TYPE_CHECKING:
    from prunebench.engine.block import BlockView


class Dense(Method):
    """Leave the model as it is: the dense row of a table takes the same path as every other row.
    Its weights are rounded to the `dtype` of the model's entry before they are evaluated, as all weights are.

        grid:
          - {method: dense}

    It has no sparsity, calibration or seed: however many of them a grid lists, it is computed once.
    """

    name = "dense"
    title = "Dense"
    uses: ClassVar[frozenset[str]] = frozenset()
    baseline = True

    def prune_block(self, block: BlockView, *_: Any) -> BlockResult:
        """Return an empty result: no linear changes."""
        return BlockResult({})
