"""BESA: within each block, learn how sparse each matrix is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from prunebench.allocators.base import Allocation, Allocator
from prunebench.methods import besa as method
from prunebench.methods.besa_parameters import Learning
from prunebench.patterns import UNSTRUCTURED

if TYPE_CHECKING:
    from prunebench.engine.anatomy import Anatomy


class Besa(Allocator):
    """One learned sparsity per matrix; every block has the budget s, so it allocates inside blocks only.

    The model is pruned block by block by the method `besa` with `granularity: matrix`: Wanda's ranking in each row,
    one `alpha = sum_k beta_k p_k` for a matrix, learned by gradients of the block's output error through a soft mask,
    and the block's budget made exact at the end. Of this only the sparsities of the matrices are kept, for any method
    to prune by; Wanda then makes the same masks again.

    The cost is that of the method: a forward and a backward pass of a block for each of `steps` steps and a few
    passes over the calibration tokens. It runs the model itself, so it takes as long as pruning does, and like
    pruning goes on where it was killed.

    What the method's page says of the published code holds here too. Its runs with one sparsity per matrix compare a
    block's output with that of the dense model on the dense model's hidden states; here it is the unpruned block's on
    what the pruned blocks before it give, as in its runs with one sparsity per row. They take a `d_coef` from
    0.05 to 50, different for every model.
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
        """From a run of the engine over all blocks of `model`; blocks of its files that it leaves out are not run."""
        from prunebench.engine.anatomy import linear_sizes
        from prunebench.engine.loop import prune_model
        from prunebench.engine.model import StreamedModel
        from prunebench.engine.placement.device import best_device

        run = model.run
        streamed = StreamedModel(run.directory, run.family, dtype=run.dtype, storage=run.storage, device=best_device())
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
        # Of a block that loses nothing, nothing is learned.
        return {linear: learned[linear].get("sparsity", sparsity) for linear in model.sizes}
