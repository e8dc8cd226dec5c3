"""The jobs that draw calibration tokens: one file for each model, corpus, size and seed, which all methods share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from prunebench.config.entries import Shape
from prunebench.config.schema import calibration_corpus, calibration_parts
from prunebench.config.sources import GeneratedSource, PairsSource, Sampling
from prunebench.config.values import Bos, Compute, is_none
from prunebench.identity.fingerprint import fingerprint
from prunebench.plan import paths
from prunebench.plan.jobs.base import STEPS, Job, Need, Spec
from prunebench.plan.sizes import block_parameters, parameters
from prunebench.runtime.provenance import version

WRITER = "engine.generation"
"""The module that lets a model write text. Only specs of generated text have its fingerprint."""
EMBEDDER = "suites.pairs"
"""The module that embeds images and text. Only specs of pairs have its fingerprint."""
IMAGE_LIBRARIES = ("pillow",)
"""The packages that read images and resize them."""


class Generation(BaseModel):
    """Everything that decides which text a model writes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: str
    storage: str
    """The dtype of the stored weights."""
    sampling: Sampling
    prompt_tokens: PositiveInt | None = Field(None, exclude_if=is_none)
    """How many tokens of a window come from a corpus; None if the model writes after its beginning-of-text token."""
    windows: PositiveInt | None = Field(None, exclude_if=is_none)
    """How many windows the model writes. They follow whole windows of the corpus; None if the model writes all."""
    compute: Compute


class Pairs(BaseModel):
    """Everything that decides what images and text become in front of the first block."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: str
    storage: str
    """The dtype of the stored weights."""
    task: str
    text_only: bool
    versions: dict[str, str | None]
    """Versions of the libraries whose releases move the numbers of images."""
    compute: Compute


class CalibrateSpec(Spec):
    """Everything that decides the calibration tokens."""

    model: str
    corpus: str | None = Field(None, exclude_if=is_none)
    """The hash of the spec of the text; None for text that a model writes without prompts."""
    samples: PositiveInt
    seqlen: PositiveInt
    seed: int
    strategy: Literal["pack", "documents"] = Field("pack", exclude_if=lambda strategy: strategy == "pack")
    bos: Bos = Field(False, exclude_if=lambda bos: bos is False)
    generation: Generation | None = Field(None, exclude_if=is_none)
    """How the model writes the text; None if the text is drawn from a corpus."""
    pairs: Pairs | None = Field(None, exclude_if=is_none)
    """How images and text are embedded; None for text alone. `corpus` is then of a bundle of tasks."""


class Calibrate(Job):
    """Draw the calibration tokens."""

    rule = "calibrate"
    subject_pattern = paths.DRAW
    writes: ClassVar = {"tokens": paths.TOKENS, "record": paths.TOKENS_RECORD}

    @property
    def generated(self) -> GeneratedSource | None:
        """The source of text that the model writes itself; None if the text is drawn from a corpus."""
        source = self.config.corpora[calibration_corpus(self.wildcards["calibration"])].source
        return source if isinstance(source, GeneratedSource) else None

    @property
    def pairs(self) -> PairsSource | None:
        """The source of pairs of images and text; None if the calibration is text."""
        source = self.config.corpora[calibration_corpus(self.wildcards["calibration"])].source
        return source if isinstance(source, PairsSource) else None

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The model, for its tokenizer or to write the text, and the corpus; none for text without prompts."""
        corpus = self.config.calibrated_from(self.wildcards["calibration"])
        return {
            "model": self.plan.job("fetch_model", **self.wildcards).output(),
            "corpus": self.plan.asset(corpus).output() if corpus else None,
        }

    def _spec(self) -> str:
        corpus, samples, seqlen = calibration_parts(self.wildcards["calibration"])
        text = self.config.text_of(self.wildcards["calibration"])
        generation = self._generation()
        code = self.code()
        if generation:
            code |= {name: fingerprint(f"prunebench.{name}") for name in (WRITER, f"models.{generation.family}")}
        pairs = self._pairs()
        if pairs:
            code |= {name: fingerprint(f"prunebench.{name}") for name in (EMBEDDER, f"models.{pairs.family}")}
        return CalibrateSpec(
            code=code,
            model=self.hash_of("model"),
            corpus=self.hash_of("corpus"),
            samples=samples,
            seqlen=seqlen,
            seed=int(self.wildcards["seed"]),
            strategy=self.config.corpora[text].calibration if text else "pack",
            bos=False if pairs else self.config.corpora[corpus].calibration_bos,
            generation=generation,
            pairs=pairs,
        ).text

    def _pairs(self) -> Pairs | None:
        if self.pairs is None:
            return None
        entry = self.config.models[self.model]
        return Pairs(
            family=entry.family,
            storage=entry.dtype,
            task=self.pairs.task,
            text_only=self.pairs.text_only,
            versions={library: version(library) for library in IMAGE_LIBRARIES},
            compute=self.config.compute,
        )

    def _generation(self) -> Generation | None:
        source = self.generated
        if source is None:
            return None
        entry = self.config.models[self.model]
        return Generation(
            family=entry.family,
            storage=entry.dtype,
            sampling=source.sampling,
            prompt_tokens=(source.prompt_tokens or None) if source.prompts else None,
            windows=None if source.share == 1 else self.config.windows_written(self.wildcards["calibration"]),
            compute=self.config.compute,
        )

    @property
    def gpu(self) -> bool:
        """Whether the model runs, to write the text or to embed images."""
        return self.compute is not None

    @property
    def compute(self) -> Compute | None:
        """The compute settings of the config if the model writes the text or embeds images."""
        return self.config.compute if self.generated or self.pairs else None

    @property
    def forward_tokens(self) -> int:
        """The tokens of a written text, which take longer one by one than in a pass over all of them."""
        return math.ceil(STEPS * self.tokens * self.generated.share) if self.generated else 0

    def bytes(self, shape: Shape) -> int:
        """The bytes of the documents of a corpus and of their tokens. The first shard of C4 has 0.8 GB of text.

        Where the model writes the text, also the bytes of its weights in float32, of the keys and values of a batch,
        and of some copies of the probabilities of a token. Where it embeds images, the bytes of what is outside its
        blocks and of one block in float32, and of the embeddings twice, in place of those.
        """
        documents = 2 * 2**30
        if self.compute is None:
            return documents
        _, samples, seqlen = calibration_parts(self.wildcards["calibration"])
        if self.pairs:
            outside = 2 * shape.vocabulary * shape.hidden
            return documents + 4 * (block_parameters(shape) + outside) + 8 * samples * seqlen * (shape.hidden + 1)
        batch = min(samples, self.compute.batch_size)
        cache = 8 * shape.blocks * shape.attention * batch * seqlen
        return documents + 4 * parameters(shape) + cache + 64 * batch * shape.vocabulary
