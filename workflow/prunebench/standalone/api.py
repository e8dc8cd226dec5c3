"""The Python functions `prunebench.prune` and `prunebench.perplexity`.

    >>> import prunebench
    >>> pruned = prunebench.prune("path/to/model", "my.txt", out="path/to/pruned", method="sparsegpt", sparsity=0.6)
    >>> prunebench.perplexity(pruned.directory, "other.txt").value
    >>> model = pruned.load()

Both run the same stages as the command line and the benchmark. They run on a GPU if PyTorch finds one, else on the CPU;
to choose another device, set PRUNEBENCH_DEVICE (cpu, cuda, cuda:1, xpu) before the call.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import ArrayLike
from transformers import PreTrainedModel

from prunebench.assets.texts import own_documents
from prunebench.assets.tokens import check_array, load_ids
from prunebench.errors import PrunebenchError
from prunebench.names import slug
from prunebench.stages.calibrate import write_array
from prunebench.standalone.arguments import check_arguments, in_python, is_path, texts_or_ids
from prunebench.standalone.measure import load as load_named
from prunebench.standalone.measure import perplexity_of, text_windows
from prunebench.standalone.recommend import recommend
from prunebench.standalone.request import Request, compute_settings, feed_forward
from prunebench.standalone.run import prune_to
from prunebench.storage.files import named_destination, named_path, write_text
from prunebench.storage.layout import read_layout
from prunebench.suites.base import Score

Model = str | Path | PreTrainedModel
"""A `from_pretrained` directory, a name of config/catalog/models.yaml, an id on the hub (owner/name or
owner/name@revision), or a model in memory."""
Given = ArrayLike | torch.Tensor | Iterable[str] | str | Path
"""Text or token ids. Text is an iterable of strings, each one document (a set is sorted), or the name of a file or
directory. Token ids are an integer array [windows, seqlen] or the name of an .npy file."""


@dataclass(frozen=True)
class Pruned:
    """A pruned model on disk."""

    directory: Path
    """The directory that `from_pretrained` loads, with dense tensors in which pruned weights are zero."""
    record: dict[str, Any]
    """The content of prunebench.json: a record of how the model was pruned."""

    @property
    def sparsity(self) -> float:
        """The fraction of zeros among the weights of the blocks' linears."""
        return float(self.record["prune"]["achieved_sparsity"])

    def load(self, **options: Any) -> PreTrainedModel:
        """Load the model in its stored dtype, or as `options` of `from_pretrained` say."""
        auto = getattr(transformers, read_layout(self.directory).family.auto)
        model: PreTrainedModel = auto.from_pretrained(
            self.directory, **{"local_files_only": True, "trust_remote_code": False, **options}
        )
        return model


def prune(
    model: Model,
    calibration: Given | None = None,
    *,
    out: str | Path,
    sparsity: float | None = None,
    pattern: str = "unstructured",
    method: str | None = None,
    allocator: str | None = None,
    params: Mapping[str, Any] | None = None,
    tokens: Given | None = None,
    column: str | None = None,
    bos: bool | None = None,
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

    `calibration` is your own text or token ids. Text is a list of strings, or the name of a file (.txt, .jsonl,
    .parquet, .gz of these) or directory, whose text lies in `column` (default "text"). Token ids, int64 [samples,
    seqlen], are an array or the name of an .npy file, and are used as they are. Without `calibration`, the text comes
    from `corpus`. `seed` draws `samples` windows of `seqlen` tokens from text. With `bos` each window begins with a BOS
    token; by default it does if the model's tokenizer puts one in front of any text. `tokens` is an older name of
    `calibration`. An n:m `pattern` (2of4 keeps 2 of every 4 weights) takes the place of `sparsity`. Without a `method`
    the function takes the best one in our own table. The forward passes run with `dtype`, `batch_size` and `threads`
    (default: all cores), which move numbers slightly. With `force` the content of `out` is deleted first.

    Raises PrunebenchError before any work for a request that cannot be met, and later if the model breaks (NaN).
    If the model is on disk, you can repeat an interrupted call, and it goes on where it stopped. A model in memory has
    no tokenizer, so it needs token ids in place of text.
    """
    least = {"samples": 1, "seqlen": 1, "seed": 0, "batch_size": 1, "threads": 1}
    counts = {"samples": samples, "seqlen": seqlen, "seed": seed, "batch_size": batch_size, "threads": threads}
    words = {"pattern": pattern, "method": method, "allocator": allocator, "corpus": corpus, "column": column}
    check_arguments(least, {**counts, **words, "sparsity": sparsity, "params": params, "bos": bos, "dtype": dtype})
    if not is_path(out):
        raise PrunebenchError("'out' is no path: give the name of a directory")
    named_destination(out, "'out'")
    if method is None and params:
        raise PrunebenchError("'params' belong to a method: name it")
    _check_model(model)
    argument = _one_of("calibration", calibration, tokens)
    with in_python(), _own(*argument, column) as own, _on_disk(model, own.text) as source:
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
            tokens=own.tokens,
            text=own.text,
            column=column,
            bos=bos,
            corpus=corpus,
            samples=samples,
            seqlen=seqlen,
            seed=seed,
            compute=compute_settings(dtype, batch_size, threads),
        )
        record = prune_to(request, Path(out), force=force)
    return Pruned(Path(out), record)


def perplexity(
    model: Model,
    text: Given | None = None,
    *,
    tokens: Given | None = None,
    column: str | None = None,
    seqlen: int = 512,
    windows: int | None = None,
    bos: bool | None = None,
    dtype: str = "bfloat16",
    batch_size: int = 8,
    threads: int | None = None,
) -> Score:
    """Measure the perplexity of `model` on `text`.

    `text` is text or token ids. Text is a list of strings, or the name of a file or directory, as for `prune`. It is
    cut into windows of `seqlen` tokens without overlap. With `bos` each window begins with a BOS token; by default it
    does if the model's tokenizer puts one in front of any text. Token ids, int64 [windows, seqlen], are an array or the
    name of an .npy file. In both cases the first `windows` windows count (default all). `tokens` is an older name of
    `text`.

    The first token of a window is only context. In the score, `value` is exp of the mean loss, `stderr` is its standard
    error over windows, `details["window_losses"]` has the loss of each window (nats per token), and `details["bos"]`
    says whether windows begin with a BOS token (None for token ids).

    Raises PrunebenchError if a loss is not finite, or the text cannot be read.
    """
    least = {"seqlen": 2, "windows": 1, "batch_size": 1, "threads": 1}
    counts = {"seqlen": seqlen, "windows": windows, "batch_size": batch_size, "threads": threads}
    check_arguments(least, {**counts, "column": column, "bos": bos, "dtype": dtype})
    _check_model(model)
    argument = _one_of("text", text, tokens)
    with in_python(), _own(*argument, column) as own, _on_disk(model, own.text) as source:
        ids = load_ids(own.tokens) if own.tokens else None
        documents = own_documents(own.text, column) if own.text else []
        if ids is None and not documents:
            raise PrunebenchError("give a text or token ids to measure the perplexity on")
        if ids is not None and bos is not None:
            raise PrunebenchError("'bos': the windows of token ids are taken as they are; leave it out")
        if ids is not None and len(ids) < (windows or 1):
            raise PrunebenchError(f"'windows': there are {len(ids)} windows of token ids, not {windows}")
        loaded = load_named(source, compute_settings(dtype, batch_size, threads))
        if ids is not None:
            return perplexity_of(loaded, np.array(ids[:windows]), "tokens")
        cut, begun = text_windows(loaded, documents, seqlen, windows, "the text", bos)
        score = perplexity_of(loaded, cut, "text")
    return replace(score, details={**score.details, "bos": begun})


def load(directory: str | Path, *, dtype: str | torch.dtype | None = None, device: str = "cpu") -> PreTrainedModel:
    """Load the model in `directory` to run it: a packed model computes on its packed weights.

    The result is a transformers model, for `generate` or lm-eval's HFLM. Forward passes use `dtype` (default: the dtype
    of the weights), which leaves packed values as they are. A directory that is not packed gives the usual model. On a
    GPU weights are dense. Raises PrunebenchError if a file is missing or damaged.
    """
    from prunebench.packed.load import load_packed

    if not is_path(directory):
        raise PrunebenchError("'directory' is no path: give the name of a model directory")
    check_arguments({}, {"dtype": str(dtype).removeprefix("torch.") if dtype is not None else "bfloat16"})
    chosen = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    return load_packed(named_path(directory, "'directory'"), chosen, device)


@dataclass(frozen=True)
class _Own:
    """The file of a user's token ids or text; both are None if the user gave neither."""

    tokens: Path | None = None
    text: Path | None = None


def _one_of(name: str, given: Given | None, older: Given | None) -> tuple[str, Given | None]:
    """Return (name, value) of the argument that was given. Raises PrunebenchError if both were given."""
    if given is not None and older is not None:
        raise PrunebenchError(f"'tokens' is an older name of '{name}': give one of them")
    return (name, given) if older is None else ("tokens", older)


def _check_model(model: Any) -> None:
    if is_path(model):
        named_path(model, "'model'")
    elif not isinstance(model, PreTrainedModel):
        raise PrunebenchError(
            f"'model' is of the type {type(model).__name__}: give the name of a directory or of the catalog, or a "
            "PreTrainedModel"
        )


@contextmanager
def _own(name: str, given: Given | None, column: str | None) -> Iterator[_Own]:
    """Give the file of the argument `name`. A value in memory is in a file for as long as the context lasts.

    Errors that arise inside the context name the argument in place of that file.
    """
    if given is None:
        yield _Own()
    elif is_path(given):
        path = Path(given)
        if isinstance(given, str) and given.strip() and not _exists(path):
            raise PrunebenchError(f"no such file or directory: {given[:80]!r}: a text itself goes into a list, [text]")
        named_path(given, f"'{name}'")
        yield _Own(tokens=path) if path.suffix.lower() == ".npy" else _Own(text=path)
    else:
        texts, ids = texts_or_ids(given, name)
        if column is not None:
            raise PrunebenchError(f"'column' belongs to a file, and '{name}' is none: leave it out")
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / ("tokens.npy" if texts is None else "texts.jsonl")
            with in_python({str(path): f"'{name}'", f"'{path.name}'": f"'{name}'"}):
                if texts is None:
                    write_array(path, _array(ids, name))
                    yield _Own(tokens=path)
                else:
                    write_text(path, "".join(json.dumps({"text": text}) + "\n" for text in texts))
                    yield _Own(text=path)


@contextmanager
def _on_disk(model: Model, text: Path | None) -> Iterator[str]:
    """Give the directory or catalog name of a model. A model in memory is on disk for as long as the context lasts.

    Raises PrunebenchError if a model in memory would have to read `text`.
    """
    if not isinstance(model, PreTrainedModel):
        yield str(model)
        return
    if text:
        raise PrunebenchError("a model in memory has no tokenizer: give token ids, or save it with its tokenizer")
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / slug(Path(model.config.name_or_path or "").name)
        model.save_pretrained(directory)
        yield str(directory)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # no file can have this name
        return False


def _array(tokens: Any, name: str) -> Any:
    """Return the token ids of the argument `name` as int64 [samples, seqlen]. Other integer types are widened.

    Raises PrunebenchError if they are no such array.
    """
    try:
        array = np.asarray(tokens.detach().cpu() if isinstance(tokens, torch.Tensor) else tokens)
    except (TypeError, ValueError, OverflowError) as error:
        raise PrunebenchError(f"'{name}' is no array [samples, seqlen]: {error}") from None
    widened = array.astype(np.int64) if np.issubdtype(array.dtype, np.integer) else array
    return check_array(widened, f"'{name}'")
