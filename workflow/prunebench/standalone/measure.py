"""Evaluating a model directory, by the suites of the DAG."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from prunebench import registry
from prunebench.assets.corpora import load_split
from prunebench.assets.manifest import Manifest, load_manifest
from prunebench.assets.tokens import (
    by_window,
    check_ids,
    first_windows,
    front_of,
    in_words,
    load_tokenizer,
    of_tokenizer,
)
from prunebench.config.schema import configured
from prunebench.engine.anatomy import linear_sizes
from prunebench.engine.subject import Subject
from prunebench.errors import CellFailure, PrunebenchError
from prunebench.identity.canonical import canonical, spec_hash
from prunebench.runtime.provenance import conditions
from prunebench.standalone.assets import arrive, cache, resolved
from prunebench.standalone.request import Compute, catalog, catalogs, model_entry, plan_without_study
from prunebench.standalone.run import threads
from prunebench.storage.locks import own
from prunebench.storage.resume import Parts
from prunebench.storage.tensors import TensorStore, storage_dtype
from prunebench.suites.base import Score
from prunebench.suites.perplexity import score, window_losses

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger("prunebench")


@dataclass(frozen=True)
class Loaded:
    """A model that is here."""

    manifest: Manifest
    subject: Subject
    compute: Compute

    @property
    def vocabulary(self) -> int:
        """The number of token ids that the model knows."""
        assert self.manifest.shape is not None  # which models have
        return self.manifest.shape.vocabulary

    @property
    def sparsity(self) -> float:
        """The fraction of zeros among the weights of the blocks' linears."""
        tensors = TensorStore(self.manifest.directory)
        linears = [tensors[f"{name}.weight"] for name in linear_sizes(self.manifest.directory, self.subject.family)]
        return 1 - sum(int(weight.count_nonzero()) for weight in linears) / sum(weight.numel() for weight in linears)


def load(model: str, compute: Compute) -> Loaded:
    """A model by directory or catalog name, downloaded if need be; PrunebenchError if it is not known."""
    name, entries = model_entry(model)
    plan = plan_without_study(catalogs(compute, models=entries))
    entry = plan.config.models[name]
    # A place for each directory: two of the same name may be in use at once.
    place = cache() / plan.asset(f"models/{name}").spec_hash
    manifest = resolved(arrive(plan, f"models/{name}", place), entry.title)
    family = registry.load("models", entry.family)
    subject = Subject(
        manifest.directory,
        family,
        None,
        dtype=getattr(torch, compute.dtype),
        storage=storage_dtype(entry.dtype),
        batch_size=compute.batch_size,
    )
    return Loaded(manifest, subject, compute)


def perplexity_of(loaded: Loaded, windows: NDArray[np.int64], name: str) -> Score:
    """The perplexity on `windows` [n, seqlen], which the score calls `name`.

    Raises PrunebenchError if a loss is not finite.
    """
    found, parts = resumable_perplexity(loaded, windows, name)
    parts.remove()
    return found


def resumable_perplexity(loaded: Loaded, windows: NDArray[np.int64], name: str) -> tuple[Score, Parts]:
    """The same, and the finished pieces of it, which are the caller's to remove."""
    check_ids(windows, loaded.vocabulary, name)
    tokens = torch.from_numpy(windows)
    parts = _parts(loaded, {"windows": hashlib.sha256(windows.tobytes()).hexdigest(), "shape": list(windows.shape)})
    with _computing(loaded):
        return score(name, window_losses(loaded.subject, tokens, parts)), parts


def evaluate_suite(loaded: Loaded, suite: str, limit: int | None) -> list[Score]:
    """All scores of a suite of the catalog, of lm-eval on `limit` rows per task if that is given.

    Raises PrunebenchError for an unknown suite, or one that has no rows to limit.
    """
    if suite not in catalog("suites"):
        raise PrunebenchError(f"--suite: unknown suite {suite!r}{registry.did_you_mean(suite, catalog('suites'))}")
    plan = plan_without_study(catalogs(loaded.compute))
    entry = plan.config.suites[suite]
    if limit is not None:
        if "limit" not in registry.load("suites", entry.suite).Params.model_fields:
            raise PrunebenchError(f"--limit: suite {suite!r} has no rows to limit")
        entry = entry.model_copy(update={"params": {**entry.params, "limit": limit}})
    plugin = configured("suites", entry)
    manifests = {asset: load_manifest(arrive(plan, asset, cache())) for asset in plugin.assets}
    directories = {asset: manifest.directory for asset, manifest in manifests.items()}
    digests = {asset: manifest.digest for asset, manifest in manifests.items()}
    identity = {"suite": entry.model_dump(mode="json"), "assets": digests}
    parts = _parts(loaded, identity)
    with _computing(loaded):
        scores: list[Score] = plugin.run(loaded.subject, directories, parts)
    parts.remove()
    return scores


def corpus_documents(corpus: str) -> tuple[list[str], int | None]:
    """The test split of a corpus of the catalog, and of how many first windows of it the benchmark takes at most.

    Raises PrunebenchError if there is no such corpus, or it has no test split.
    """
    if corpus not in catalog("corpora"):
        raise PrunebenchError(f"--corpus: unknown corpus {corpus!r}{registry.did_you_mean(corpus, catalog('corpora'))}")
    plan = plan_without_study(catalogs(Compute()))
    splits = plan.config.corpora[corpus].splits
    if "test" not in splits:
        raise PrunebenchError(f"--corpus: corpus {corpus!r} has no split test (it has: {', '.join(splits)})")
    manifest = load_manifest(arrive(plan, f"corpora/{corpus}", cache()))
    return load_split(manifest.directory, "test"), manifest.test_windows


def text_windows(
    loaded: Loaded, documents: list[str], seqlen: int, count: int | None, name: str, bos: bool | None = None
) -> tuple[NDArray[np.int64], bool]:
    """`count` windows int64 [n, `seqlen`] (default all) of a text called `name`, cut as the benchmark cuts them.

    With `bos` each window begins with the tokenizer's BOS; None: if the tokenizer puts one in front of any text.
    Also returns whether they do. Raises PrunebenchError if the text is too short for that, the tokenizer has no BOS, or
    it gives tokens that the model does not know.
    """
    tokenizer = load_tokenizer(loaded.manifest.directory)
    front = front_of(tokenizer, by_window(bos))
    log.info("%s: %s", loaded.manifest.title, in_words(front, by_window(bos), tokenizer))
    windows = first_windows(tokenizer, documents, seqlen, count, name, front=front)
    check_ids(windows, loaded.vocabulary, of_tokenizer(loaded.manifest.title, name))
    return windows, bool(front)


def _parts(loaded: Loaded, identity: dict[str, Any]) -> Parts:
    """Where finished pieces of an evaluation are kept until it is complete; no other process works there."""
    whole = canonical(
        {**identity, "model": loaded.manifest.digest, "compute": loaded.compute.entry, **conditions()},
    )
    return Parts(own(cache() / "evaluations" / spec_hash(whole)), identity=whole)


@contextmanager
def _computing(loaded: Loaded) -> Iterator[None]:
    """Threads as asked for; what would be a failed cell of a study is an error here."""
    try:
        with threads(loaded.compute.threads):
            yield
    except CellFailure as failure:
        raise PrunebenchError(f"{loaded.manifest.title}: {failure}") from None
