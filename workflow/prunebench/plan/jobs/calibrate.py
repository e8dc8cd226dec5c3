"""The jobs that draw calibration tokens: one file for each model, corpus, size and seed, which all methods share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar, Literal

from pydantic import Field, PositiveInt

from prunebench.config.entries import Bos, Shape
from prunebench.config.schema import calibration_parts
from prunebench.plan import paths
from prunebench.plan.jobs.base import Job, Need, Spec


class CalibrateSpec(Spec):
    """Everything that decides the calibration tokens."""

    model: str
    corpus: str
    samples: PositiveInt
    seqlen: PositiveInt
    seed: int
    strategy: Literal["pack", "documents"] = Field("pack", exclude_if=lambda strategy: strategy == "pack")
    bos: Bos = Field(False, exclude_if=lambda bos: bos is False)


class Calibrate(Job):
    """Draw the calibration tokens."""

    rule = "calibrate"
    subject_pattern = paths.DRAW
    writes: ClassVar = {"tokens": paths.TOKENS, "record": paths.TOKENS_RECORD}

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The model, for its tokenizer, and the corpus."""
        corpus, _, _ = calibration_parts(self.wildcards["calibration"])
        return {
            "model": self.plan.job("fetch_model", **self.wildcards).output(),
            "corpus": self.plan.job("fetch_corpus", corpus=corpus).output(),
        }

    def _spec(self) -> str:
        corpus, samples, seqlen = calibration_parts(self.wildcards["calibration"])
        entry = self.config.corpora[corpus]
        return CalibrateSpec(
            code=self.code(),
            model=self.hash_of("model"),
            corpus=self.hash_of("corpus"),
            samples=samples,
            seqlen=seqlen,
            seed=int(self.wildcards["seed"]),
            strategy=entry.calibration,
            bos=entry.calibration_bos,
        ).text

    def bytes(self, shape: Shape) -> int:
        """The bytes of the documents of a corpus and of their tokens. The first shard of C4 has 0.8 GB of text."""
        return 2 * 2**30
