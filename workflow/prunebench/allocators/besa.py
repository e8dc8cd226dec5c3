"""BESA: learn within each block how sparse each matrix is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from prunebench.allocators.base import Allocation, Allocator
from prunebench.methods import besa as method
from prunebench.methods.besa_parameters import Learning
from prunebench.patterns import UNSTRUCTURED

if TYPE_CHECKING:
    from prunebench.engine.anatomy import Anatomy


class Besa(Allocator):
    """Learn one sparsity per matrix, such that the output of each block changes little.
    Every block has the same sparsity s: it allocates inside blocks only.

        allocators:
          besa_short: {allocator: besa, params: {steps: 64}}

    The method `besa` with `granularity: matrix` prunes the model block by block: it ranks weights within rows by
    Wanda's score, and learns an `alpha = sum_k beta_k p_k` for each matrix by gradients of the block's output error
    through a soft mask. Only the sparsities of the matrices are kept, for any method to prune by; the method `wanda`
    then makes the same masks again. It takes as long as pruning by the method `besa`.

    The differences from the published code are those of the method. In addition, its runs with one sparsity per matrix
    compare a block's output with the dense model's output on the dense model's hidden states; here the target is the
    unpruned block's output on the outputs of the pruned blocks before it, as in its runs with one sparsity per row. Its
    `d_coef` is 0.05 to 50, different for every model.
    """

    class Params(Learning):
        """Parameters of BESA."""

    name = "besa"
    title = "BESA"
    reference = method.Besa.reference
    presets: ClassVar[dict[str, dict[str, Any]]] = method.Besa.presets
    uses: ClassVar[frozenset[str]] = frozenset({"calibration", "seed"})
    runs_model = True

    def allocate(self, model: Anatomy, sparsity: float) -> Allocation:
        """Run the engine over all blocks of `model` and return the learned sparsities."""
        from prunebench.engine.anatomy import linear_sizes
        from prunebench.engine.loop import prune_model
        from prunebench.engine.model import StreamedModel

        run = model.run
        streamed = StreamedModel(run.directory, run.family, dtype=run.dtype, storage=run.storage)
        everywhere = dict.fromkeys(linear_sizes(run.directory, run.family), 0.0)
        params = {**self.params.model_dump(), "granularity": "matrix"}
        records = prune_model(
            streamed,
            method.Besa(method.Besa.configure(overrides=params)),
            everywhere | dict.fromkeys(model.sizes, sparsity),
            UNSTRUCTURED,
            run.tokens,
            run.scratch,
            batch_size=run.batch_size,
            seed=run.seed,
        )
        learned = {name: linear for block in records for name, linear in block["linears"].items()}
        # A block that loses no weights has no learned sparsities.
        return {linear: learned[linear].get("sparsity", sparsity) for linear in model.sizes}
