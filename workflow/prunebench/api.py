"""Pruning and measuring from Python: `prunebench.prune`, `prunebench.perplexity`.

    >>> import prunebench
    >>> pruned = prunebench.prune("path/to/model", tokens, out="path/to/pruned", method="sparsegpt", sparsity=0.6)
    >>> prunebench.perplexity(pruned.directory, windows).value
    >>> model = pruned.load()

Both are what the command line and the benchmark do, stage by stage. They run where PyTorch finds a GPU, else on the
CPU; set CUDA_VISIBLE_DEVICES before torch is imported to choose.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from transformers import AutoModelForCausalLM, PreTrainedModel

from prunebench.errors import PrunebenchError
from prunebench.single.measure import load, perplexity_of
from prunebench.single.recommend import recommend
from prunebench.single.request import Compute, Request, cores, feed_forward, slug
from prunebench.single.run import prune_to
from prunebench.stages.calibrate import write_array
from prunebench.suites.base import Score

Model = str | Path | PreTrainedModel
"""A `from_pretrained` directory, a name of config/catalog/models.yaml, or a model in memory."""


@dataclass(frozen=True)
class Pruned:
    """A pruned model on disk."""

    directory: Path
    """What `from_pretrained` loads: dense tensors with zeros in place."""
    record: dict[str, Any]
    """What was done, as its prunebench.json says it."""

    @property
    def sparsity(self) -> float:
        """The fraction of zeros that was reached, among the weights of the blocks' linears."""
        return float(self.record["prune"]["achieved_sparsity"])

    def load(self, **options: Any) -> PreTrainedModel:
        """The model, in the dtype in which it is stored unless `options` of `from_pretrained` say otherwise."""
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(self.directory, local_files_only=True, **options)
        return model


def prune(
    model: Model,
    tokens: ArrayLike | torch.Tensor | str | Path | None = None,
    *,
    out: str | Path,
    sparsity: float | None = None,
    pattern: str = "unstructured",
    method: str | None = None,
    allocator: str | None = None,
    params: Mapping[str, Any] | None = None,
    corpus: str = "c4_type",
    samples: int = 128,
    seqlen: int = 512,
    seed: int = 0,
    dtype: str = "bfloat16",
    batch_size: int = 8,
    threads: int | None = None,
    force: bool = False,
) -> Pruned:
    """Prune `model` and write it to the directory `out`.

    `tokens` are the calibration text: int64 [samples, seqlen], an array or the name of an .npy file. Without them
    `samples` windows of `seqlen` tokens are drawn from `corpus` with `seed`. An n:m `pattern` (2of4: 2 kept of 4) takes
    the place of `sparsity`. Without a `method` the best of our own table is taken. `dtype`, `batch_size` and `threads`
    (default: all cores) are those of the forward passes and move numbers slightly.

    Raises PrunebenchError for a request that cannot be met, before work starts, and if the model breaks (NaN).
    A call that was interrupted goes on where it was when it is repeated, if the model is on disk. A model in memory has
    no tokenizer: it needs `tokens` wherever text is looked at.
    """
    if method is None and params:
        raise PrunebenchError("'params' belong to a method: name it")
    with _on_disk(model) as source, _token_file(tokens) as file:
        if method is None:
            best = recommend(pattern, sparsity, feed_forward(source))
            method, allocator = best.method, allocator or best.allocator
        request = Request(
            model=source,
            method=method,
            sparsity=sparsity,
            pattern=pattern,
            allocator=allocator or "uniform",
            params=params or {},
            tokens=file,
            corpus=corpus,
            samples=samples,
            seqlen=seqlen,
            seed=seed,
            compute=Compute(dtype, batch_size, threads or cores()),
        )
        record = prune_to(request, Path(out), force=force)
    return Pruned(Path(out), record)


def perplexity(
    model: Model,
    tokens: ArrayLike | torch.Tensor | str | Path,
    *,
    dtype: str = "bfloat16",
    batch_size: int = 8,
    threads: int | None = None,
) -> Score:
    """The perplexity of `model` on windows of token ids, int64 [windows, seqlen]: an array or the name of an .npy file.

    The first token of a window is only context. `value` is exp of the mean loss, `stderr` its standard error over
    windows, `details["window_losses"]` the loss of each (nats per token). Raises PrunebenchError if one is not finite.
    """
    array = np.load(tokens, allow_pickle=False) if isinstance(tokens, str | Path) else _array(tokens)
    with _on_disk(model) as source:
        loaded = load(source, Compute(dtype, batch_size, threads or cores()))
        return perplexity_of(loaded, array, "tokens")


@contextmanager
def _on_disk(model: Model) -> Iterator[str]:
    """The directory or catalog name of a model; one in memory is saved for as long as the context lasts."""
    if isinstance(model, str | Path):
        yield str(model)
        return
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / slug(Path(model.config.name_or_path or "").name)
        model.save_pretrained(directory)
        yield str(directory)


@contextmanager
def _token_file(tokens: ArrayLike | torch.Tensor | str | Path | None) -> Iterator[Path | None]:
    if tokens is None or isinstance(tokens, str | Path):
        yield None if tokens is None else Path(tokens)
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "tokens.npy"
        write_array(path, _array(tokens))
        yield path


def _array(tokens: ArrayLike | torch.Tensor) -> Any:
    """Token ids as an int64 array; ids of another integer type are widened."""
    array = np.asarray(tokens)
    return array.astype(np.int64) if np.issubdtype(array.dtype, np.integer) else array
