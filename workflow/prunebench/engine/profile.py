"""The profile of a model: statistics of the unpruned model on calibration tokens, small enough to share."""

from torch import Tensor

from prunebench.engine.activations import advance, embed
from prunebench.engine.model import StreamedModel
from prunebench.engine.stat import Stat
from prunebench.engine.statistics import Accumulator
from prunebench.runtime.progress import track


def profile_model(model: StreamedModel, tokens: Tensor, batch_size: int) -> dict[str, Tensor]:
    """||x_j||^2 over all tokens at every site, float64 [in], by the site's full name; `tokens` int64 [samples, seqlen].

    Site norms and not scores: all scores that are made of weights and norms follow from them.
    """
    activations = embed(model, tokens, batch_size)
    norms = {}
    for index in track(range(model.blocks), "block"):
        with model.block(index) as module:
            # One pass: what the hooks see is what the next block gets.
            with Accumulator(module, model.family.sites, {Stat.SITE_NORM}) as accumulator:
                advance(activations, module, index)
            for site, statistic in accumulator.statistics.items():
                norms[model.family.full_name(index, site)] = statistic.squared_norm.cpu()
    return norms
