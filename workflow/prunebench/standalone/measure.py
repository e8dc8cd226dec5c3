"""Evaluates a model directory by the suites of the DAG."""

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
from prunebench.config.values import Compute
from prunebench.engine.anatomy import linear_sizes
from prunebench.engine.subject import Subject
from prunebench.errors import CellFailure, PrunebenchError
from prunebench.identity.canonical import canonical, spec_hash
from prunebench.packed.load import PackedSubject
from prunebench.runtime.progress import about
from prunebench.runtime.provenance import conditions
from prunebench.standalone.assets import arrive, resolved
from prunebench.standalone.request import (
    compute_settings,
    model_entry,
    plan_without_study,
    refuse_unknown,
    tell_of_slow_dtype,
)
from prunebench.standalone.run import threads
from prunebench.storage.digests import user_cache
from prunebench.storage.layout import is_packed
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
    """A model on this machine, ready to be evaluated."""

    manifest: Manifest
    subject: Subject
    compute: Compute

    @property
    def vocabulary(self) -> int:
        """The number of token ids that the model knows."""
        assert self.manifest.shape is not None  # every model has a shape
        return self.manifest.shape.vocabulary

    @property
    def sparsity(self) -> float:
        """The fraction of zeros among the weights of the blocks' linears."""
        tensors = TensorStore(self.manifest.directory)
        linears = [tensors[f"{name}.weight"] for name in linear_sizes(self.manifest.directory, self.subject.family)]
        return 1 - sum(int(weight.count_nonzero()) for weight in linears) / sum(weight.numel() for weight in linears)


def load(model: str, compute: Compute) -> Loaded:
    """Load the model of a directory or a catalog name; download it if it is not on disk.

    Raises PrunebenchError if there is no such model.
    """
    tell_of_slow_dtype(compute.dtype)
    name, entries = model_entry(model)
    plan = plan_without_study(compute, models=entries)
    entry = plan.config.models[name]
    # Each model directory has its own place, because two directories with one name may be in use at once.
    place = user_cache() / plan.asset(f"models/{name}").spec_hash
    manifest = resolved(arrive(plan, f"models/{name}", place), entry.title)
    family = registry.load("models", entry.family)
    kind = PackedSubject if is_packed(manifest.directory) else Subject
    subject = kind(
        manifest.directory,
        family,
        None,
        dtype=getattr(torch, compute.dtype),
        storage=storage_dtype(entry.dtype),
        batch_size=compute.batch_size,
    )
    return Loaded(manifest, subject, compute)


def perplexity_of(loaded: Loaded, windows: NDArray[np.int64], name: str) -> Score:
    """Measure the perplexity on `windows`, int64 [n, seqlen]; the score calls them `name`.

    Raises PrunebenchError if a loss is not finite.
    """
    result, parts = resumable_perplexity(loaded, windows, name)
    parts.remove()
    return result


def resumable_perplexity(loaded: Loaded, windows: NDArray[np.int64], name: str) -> tuple[Score, Parts]:
    """Return the result of `perplexity_of`, and its finished parts on disk, which the caller has to remove."""
    check_ids(windows, loaded.vocabulary, name)
    if windows.shape[1] < 2:
        raise PrunebenchError(f"{name}: a window of one token has no token to predict: take at least 2 tokens")
    tokens = torch.from_numpy(windows)
    parts = parts_of(loaded, {"windows": hashlib.sha256(windows.tobytes()).hexdigest(), "shape": list(windows.shape)})
    with computing(loaded):
        return score(name, window_losses(loaded.subject, tokens, parts)), parts


def corpus_documents(corpus: str) -> tuple[list[str], int | None]:
    """Return the documents of the test split of `corpus`, and the most windows that the benchmark takes from its start.

    Raises PrunebenchError if there is no such corpus, or if it has no test split.
    """
    refuse_unknown("corpora", corpus)
    plan = plan_without_study(compute_settings())
    splits = plan.config.corpora[corpus].splits
    if "test" not in splits:
        raise PrunebenchError(f"--corpus: corpus {corpus!r} has no split test (it has: {', '.join(splits)})")
    manifest = load_manifest(arrive(plan, f"corpora/{corpus}", user_cache()))
    return load_split(manifest.directory, "test"), manifest.test_windows


def text_windows(
    loaded: Loaded, documents: list[str], seqlen: int, count: int | None, name: str, bos: bool | None = None
) -> tuple[NDArray[np.int64], bool]:
    """Cut the text `name` into windows, int64 [n, `seqlen`], and say whether they begin with a BOS token.

    The result has the first `count` windows (None: all), cut as the benchmark cuts them. They begin with a BOS token if
    `bos` is true, or if it is None and the tokenizer puts one in front of any text. Raises PrunebenchError if the text
    is too short, if the tokenizer has no BOS token, or if it gives tokens that the model does not know.
    """
    tokenizer = load_tokenizer(loaded.manifest.directory)
    front = front_of(tokenizer, by_window(bos))
    log.info("%s: %s", loaded.manifest.title, in_words(front, by_window(bos), tokenizer))
    windows = first_windows(tokenizer, documents, seqlen, count, name, front=front)
    check_ids(windows, loaded.vocabulary, of_tokenizer(loaded.manifest.title, name))
    return windows, bool(front)


def parts_of(loaded: Loaded, identity: dict[str, Any]) -> Parts:
    """Return the place of finished parts of an evaluation until it is complete. No other process writes there."""
    whole = canonical(
        {**identity, "model": loaded.manifest.digest, "compute": loaded.compute.model_dump(), **conditions()},
    )
    return Parts(own(user_cache() / "evaluations" / spec_hash(whole)), identity=whole)


@contextmanager
def computing(loaded: Loaded) -> Iterator[None]:
    """Use the threads of the settings, and turn a CellFailure (in a study it is a result) into a PrunebenchError."""
    try:
        with threads(loaded.compute.threads), about(loaded.manifest.title):
            yield
    except CellFailure as failure:
        raise PrunebenchError(f"{loaded.manifest.title}: {failure}") from None
