"""The profile of a model: statistics of the unpruned model on calibration tokens, small enough to share."""

from torch import Tensor

from prunebench.engine.activations import advance, embed
from prunebench.engine.attention import QuickAttention
from prunebench.engine.model import StreamedModel
from prunebench.engine.stat import Stat
from prunebench.engine.statistics import Accumulator
from prunebench.runtime.progress import track


def profile_model(model: StreamedModel, tokens: Tensor, batch_size: int) -> dict[str, Tensor]:
    """||x_j||^2 over all `tokens`, int64 [samples, seqlen], at every site: full name of the site -> float64 [in].

    All scores that consist of weights and norms of inputs follow from these.
    """
    activations = embed(model, tokens, batch_size, finite=False)
    norms = {}
    for index in track(range(model.blocks), "block"):
        with model.block(index) as module:
            # One pass both collects statistics and computes the inputs of the next block.
            sites = model.family.sites
            with Accumulator(module, sites, {Stat.SITE_NORM}, activations.counted) as accumulator, QuickAttention():
                advance(activations, module, index)
            for site, statistic in accumulator.statistics.items():
                norms[model.family.full_name(index, site)] = statistic.squared_norm.cpu()
    return norms
