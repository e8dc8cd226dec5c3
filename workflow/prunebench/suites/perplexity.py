"""The suite of perplexities on non-overlapping windows of test text."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveInt

from prunebench.config.values import Bos, Slug
from prunebench.plugin import Parameters
from prunebench.suites import workloads
from prunebench.suites.base import Score, Suite
from prunebench.suites.metrics import Metric
from prunebench.suites.workloads import Workload

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

    from prunebench.assets.tokens import Front
    from prunebench.config.schema import Config
    from prunebench.engine.subject import Subject
    from prunebench.published.values import Published
    from prunebench.storage.resume import Parts

log = logging.getLogger("prunebench")

PIECE = 1 << 17
"""The number of tokens between two points from which a killed evaluation resumes."""
C4_WINDOWS = 256
"""The number of windows of C4 that published codes evaluate on."""


class Perplexity(Suite):
    """Measure the perplexity on each corpus: exp of the mean negative log-likelihood per predicted token.
    Text is cut into windows without overlap.

        suites:
          ppl: {suite: perplexity, params: {corpora: [wikitext2, ptb], seqlen: 2048}}

    The documents of the corpus' test split are joined by blank lines and tokenised into one stream. The stream is cut
    into windows of `seqlen` tokens, and the incomplete tail is dropped. Inside a window every token but the first is
    predicted from the tokens before it. With equal windows the result equals `exp(sum(nll * seqlen) / tokens)` of
    published codes.

    Each document is tokenised by itself, with the tokens of a blank line between two of them. A corpus with `join` is
    one text, tokenised as a whole. A corpus with `test_windows` gives at most that number of windows. Losses are
    computed from logits in float32. The standard error of the mean loss over windows is carried through exp. A loss
    that is not finite fails the evaluation, and so does a mean above 300 nats per token. The JSON of the result keeps
    the loss of every window, so that two models can be compared window by window.
    """

    class Params(Parameters):
        """Parameters of the perplexity."""

        corpora: list[Slug] = Field(min_length=1, description="catalog names")
        seqlen: int = Field(2048, ge=2)
        """tokens per window"""
        windows: PositiveInt | None = Field(None, description="the first so many windows of each corpus; default all")
        split: Literal["test", "tuning"] = "test"
        """tables of a paper take test; what chooses among variants takes tuning"""
        bos: Bos = Field(
            False,
            description="the tokenizer's beginning-of-text token. true: once, in front of the stream; window: in front "
            "of each window, which then has one token of text less; auto: window if the tokenizer puts one in front of "
            "a text by itself, else false",
        )

    name = "perplexity"
    title = "Perplexity"
    metrics = (Metric("perplexity", "Perplexity", lower=True, log=True, published=("perplexity", "word_perplexity")),)
    table = "perplexity"

    @property
    def assets(self) -> tuple[str, ...]:
        """The corpora that the parameters name."""
        return tuple(f"corpora/{corpus}" for corpus in self.params.corpora)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The corpora, each of which has a score."""
        return tuple(self.params.corpora)

    def mistakes(self, config: Config) -> Iterator[str]:
        """Yield a mistake for each corpus that does not have the split."""
        for corpus in self.params.corpora:
            if self.params.split not in (splits := config.corpora[corpus].splits):
                yield f"corpora: corpus {corpus!r} has no split {self.params.split} (it has: {', '.join(splits)})"

    def differences(self, value: Published) -> Iterator[str]:
        """Yield differences in the unit, the length and number of windows, the split, and the token in front."""
        params = self.params
        if value.metric == "word_perplexity":
            yield "perplexity per word, here per token"
        elif value.seqlen != params.seqlen:
            known = f"of {value.seqlen} tokens, here of {params.seqlen}" if value.seqlen else "of a length not stated"
            yield f"windows {known}"
        if params.split != "test":
            yield f"on the test split, here on {params.split}"
        if params.bos is not True:
            where = "in front of each window" if params.bos else "without"
            yield f"with a BOS token in front of the text, as published codes tokenise, here {where}"
        if params.windows and not (value.task == "c4" and params.windows >= C4_WINDOWS):
            yield f"all windows, here the first {params.windows}"

    def workload(self, config: Config) -> Workload:
        """Estimate the windows of all corpora."""
        params = self.params
        at_most = {corpus: getattr(config.corpora[corpus], "test_windows", None) for corpus in params.corpora}
        return workloads.of_corpora(params.corpora, params.seqlen, params.windows, at_most)

    def run(self, subject: Subject, assets: Mapping[str, Path], parts: Parts) -> list[Score]:
        """Compute one perplexity per corpus, all corpora in one pass over the blocks."""
        import torch

        from prunebench.assets.tokens import front_of, in_words, load_tokenizer

        tokenizer = load_tokenizer(subject.directory)
        front = front_of(tokenizer, self.params.bos)
        log.info("perplexity with %s", in_words(front, self.params.bos, tokenizer))
        windows = {
            corpus: self._windows(subject, tokenizer, front, assets[f"corpora/{corpus}"])
            for corpus in self.params.corpora
        }
        losses = window_losses(subject, torch.cat(list(windows.values())), parts)
        scores = []
        for corpus, part in windows.items():
            scores.append(score(corpus, losses[: len(part)], front))
            losses = losses[len(part) :]
        return scores

    def _windows(self, subject: Subject, tokenizer: PreTrainedTokenizerFast, front: Front, corpus: Path) -> Tensor:
        import torch

        from prunebench.assets.corpora import load_split
        from prunebench.assets.manifest import MANIFEST_NAME, load_manifest, read_shape
        from prunebench.assets.tokens import check_ids, first_windows, of_tokenizer

        params = self.params
        name = f"{corpus.name}: the {params.split} split"
        documents = load_split(corpus, params.split)
        windows = first_windows(tokenizer, documents, params.seqlen, params.windows, name, front=front)
        at_most = load_manifest(corpus / MANIFEST_NAME).test_windows if params.split == "test" else None
        vocabulary = read_shape(subject.directory / "config.json").vocabulary
        check_ids(windows[:at_most], vocabulary, of_tokenizer(subject.directory, name))
        return torch.from_numpy(windows[:at_most])


def window_losses(subject: Subject, windows: Tensor, parts: Parts) -> list[float]:
    """Compute the mean negative log-likelihood (nats per predicted token) of each of `windows` (int64 [n, seqlen]).

    Finished pieces, of whole batches, are kept in `parts`, so that a killed job does not repeat them. Raises
    CellFailure if a loss is not finite.
    """
    import torch

    from prunebench.engine import loss

    # Each piece loads every block once, so pieces must be large enough for that not to matter.
    size = max(1, PIECE // (windows.shape[1] * subject.batch_size)) * subject.batch_size
    model = subject.streamed()
    losses: list[float] = []
    for piece in torch.split(windows, size):
        losses += parts.get_or(str(len(losses)), partial(loss.window_losses, model, piece, subject.batch_size))
    return losses


def score(corpus: str, losses: list[float], bos: Front | None = None) -> Score:
    """Compute the perplexity of windows with these `losses`. Raises CellFailure if it would not fit a float.

    `bos` says for the record where a beginning-of-text token stands; None where that is not known.
    """
    from prunebench.engine import loss

    value = loss.perplexity(losses, corpus)
    # The delta method carries the standard error of the mean window loss through exp.
    stderr = value * statistics.stdev(losses) / math.sqrt(len(losses)) if len(losses) > 1 else None
    return Score(corpus, "perplexity", value, stderr, len(losses), {"bos": bos, "window_losses": losses})
