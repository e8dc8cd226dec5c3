"""Template: one line that says what is measured. (This file works as it is: change it step by step.)"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

from prunebench.plugin import Parameters
from prunebench.suites import workloads
from prunebench.suites.base import Score, Suite
from prunebench.suites.metrics import Metric
from prunebench.suites.workloads import Workload

if TYPE_CHECKING:
    from prunebench.config.schema import Config
    from prunebench.engine.subject import Subject
    from prunebench.storage.resume import Parts


class Template(Suite):
    """Bits that the model needs for a token of test text: the mean of -log2 p over windows of `seqlen` tokens.

    Write the whole protocol here: `prunebench suites template` prints this.
    """

    class Params(Parameters):
        """Parameters that an entry under `suites` may set. Two numbers compare if these are the same."""

        corpus: str = Field(description="catalog name")
        seqlen: PositiveInt = Field(128, description="tokens per window")
        windows: PositiveInt = Field(8, description="the first so many windows of the corpus")

    name = "template"  # the name of the file, and the name in configs
    title = "Template"  # the name in the report
    # Tables and figures show these metrics: each has its `name` in Score, and says how scores are averaged and printed.
    metrics = (Metric("template_bits", "Bits per token", lower=True, digits=3),)

    @property
    def assets(self) -> tuple[str, ...]:
        """The assets that the suite reads besides the model, as kind and catalog name."""
        return (f"corpora/{self.params.corpus}",)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks that its scores belong to."""
        return (self.params.corpus,)

    def workload(self, config: Config) -> Workload:
        """Say how much text goes through the model, for `prunebench plan`."""
        return workloads.of_corpora([self.params.corpus], self.params.seqlen, self.params.windows, {})

    def run(self, subject: Subject, assets: Mapping[str, Path], parts: Parts) -> list[Score]:
        """Return one score. `subject.streamed()` has one block in memory at a time, `subject.whole()` has all."""
        import torch  # not at the top, because the Snakefile imports this file

        from prunebench.assets.corpora import load_split
        from prunebench.assets.tokens import first_windows, load_tokenizer
        from prunebench.suites.perplexity import window_losses

        params = self.params
        documents = load_split(assets[f"corpora/{params.corpus}"], "test")
        tokenizer = load_tokenizer(subject.directory)
        windows = first_windows(tokenizer, documents, params.seqlen, params.windows, f"{params.corpus}: the test split")
        # Losses are in nats per token, one per window. After a killed job, losses in `parts` are not computed again.
        losses = window_losses(subject, torch.from_numpy(windows), parts)
        bits = [loss / math.log(2) for loss in losses]
        stderr = statistics.stdev(bits) / math.sqrt(len(bits)) if len(bits) > 1 else None
        return [Score(params.corpus, self.metrics[0].name, statistics.fmean(bits), stderr, len(bits))]
