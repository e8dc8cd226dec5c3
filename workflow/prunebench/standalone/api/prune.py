"""The function `prunebench.prune`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

import torch
import transformers
from transformers import PreTrainedModel

from prunebench.errors import PrunebenchError
from prunebench.runtime.progress import tell
from prunebench.standalone.api.calling import Device, Progress, called, no_bars, settings
from prunebench.standalone.api.inputs import Given, Model, Placed, check_model, device_of, own, placed
from prunebench.standalone.api.load import load
from prunebench.standalone.arguments import check_arguments, is_path
from prunebench.standalone.prepare import prepared
from prunebench.standalone.request import Request
from prunebench.standalone.run import prune_to, refuse_destination
from prunebench.storage.files import named_destination
from prunebench.storage.layout import is_packed, read_layout
from prunebench.storage.packed import packing_of

LEAST = {"samples": 1, "seqlen": 1, "seed": 0, "batch_size": 1, "threads": 1, "bits": 1, "group": 1}
"""The lower bounds of whole numbers."""


@dataclass(frozen=True)
class Pruned:
    """A pruned model on disk."""

    directory: Path
    """The directory of the model. `from_pretrained` loads it, unless it is packed."""
    record: dict[str, Any]
    """The content of prunebench.json: a record of how the model was pruned."""

    @property
    def sparsity(self) -> float:
        """The fraction of zeros among the weights of the blocks' linears."""
        return float(self.record["prune"]["achieved_sparsity"])

    def load(self, **options: Any) -> PreTrainedModel:
        """Load the model in its stored dtype, or as `options` of `from_pretrained` say (of `load` if it is packed)."""
        if is_packed(self.directory):
            return load(self.directory, **options)
        auto = getattr(transformers, read_layout(self.directory).family.auto)
        with no_bars():
            model: PreTrainedModel = auto.from_pretrained(
                self.directory, **{"local_files_only": True, "trust_remote_code": False, **options}
            )
        return model


class Options(TypedDict, total=False):
    """The options of `prune`, which say what they are."""

    sparsity: float | None
    pattern: str
    method: str | None
    method_params: Mapping[str, Any] | None
    allocator: str | None
    allocator_params: Mapping[str, Any] | None
    tokenizer: Any
    column: str | None
    bos: bool | None
    corpus: str | None
    samples: int
    seqlen: int
    seed: int
    dtype: str | torch.dtype
    batch_size: int
    threads: int | None
    device: Device
    packed: bool
    bits: int | None
    group: int | None
    force: bool
    progress: Progress
    tokens: Given | None
    params: Mapping[str, Any] | None


@overload
def prune(model: Model, calibration: Given | None = None, *, out: str | Path, **options: Unpack[Options]) -> Pruned: ...


@overload
def prune(
    model: Model, calibration: Given | None = None, *, out: None = None, **options: Unpack[Options]
) -> PreTrainedModel: ...


def prune(
    model: Model,
    calibration: Given | None = None,
    *,
    out: str | Path | None = None,
    sparsity: float | None = None,
    pattern: str = "unstructured",
    method: str | None = None,
    method_params: Mapping[str, Any] | None = None,
    allocator: str | None = None,
    allocator_params: Mapping[str, Any] | None = None,
    tokenizer: Any = None,
    column: str | None = None,
    bos: bool | None = None,
    corpus: str | None = None,
    samples: int = 128,
    seqlen: int = 512,
    seed: int = 0,
    dtype: str | torch.dtype = "bfloat16",
    batch_size: int = 8,
    threads: int | None = None,
    device: Device = None,
    packed: bool = False,
    bits: int | None = None,
    group: int | None = None,
    force: bool = False,
    progress: Progress = None,
    tokens: Given | None = None,
    params: Mapping[str, Any] | None = None,
) -> Pruned | PreTrainedModel:
    """Prune `model` and write it to the directory `out`. Without `out` the pruned model itself comes back.

    `calibration` is text or token ids. Text is a list of strings; a dataset with a column of texts; the name of a file
    (.txt, .jsonl, .parquet, .gz of these) or directory; or the name of a corpus of the catalog, by default c4_type.
    `column` is the column of a dataset or file (default "text"). Token ids, int64 [samples, seqlen], are an array or
    the name of an .npy file, and are used as they are. `seed` draws `samples` windows of `seqlen` tokens from text.
    With `bos` each window begins with a BOS token; by default it does if the model's tokenizer puts one in front of any
    text. A model in memory is left as it is; it needs its `tokenizer` if there is a text to cut.

    An n:m `pattern` (2of4 keeps 2 of every 4 weights) takes the place of `sparsity`. `method` and `allocator` are names
    that `prunebench methods` and `prunebench allocators` list with their parameters, which `method_params` and
    `allocator_params` set. Without a `method` the function takes the one that our own table recommends. With `packed`
    zeros are left out, and with `bits` 8 values have 8 bits, with a scale for each `group` of columns. The forward
    passes run with `dtype`, `batch_size` and `threads` (default: OMP_NUM_THREADS, or all cores), which move
    numbers slightly, on `device`. With `force` the content of `out` is deleted first, and so is unfinished work of
    other settings.

    Raises PrunebenchError before any work, and before a model in memory is saved, for a request that cannot be met, and
    later if the model breaks (NaN). With `out` you can repeat an interrupted call for a model on disk, and it goes on
    where it stopped. `tokens`, `params` and `corpus` are older names of `calibration`, `method_params` and
    `calibration`.
    """
    counts = {"samples": samples, "seqlen": seqlen, "seed": seed, "batch_size": batch_size, "threads": threads}
    counts |= {"bits": bits, "group": group}
    words = {"pattern": pattern, "method": method, "allocator": allocator, "corpus": corpus, "column": column}
    older = {"'method_params'": "'params'"} if params is not None else {}
    mappings = {"method_params": method_params, "allocator_params": allocator_params, "params": params}
    flags = {"packed": packed, "force": force, "bos": bos}
    check_arguments(LEAST, {**counts, **words, "sparsity": sparsity, **mappings, "dtype": dtype, **flags})
    if out is not None:
        _check_out(out)
    check_model(model, tokenizer)
    name, given = one_of("calibration", calibration, tokens)
    _, method_params = one_of("method_params", method_params, params)
    with called(device, progress, older), own(name, given, column) as source, placed(model, tokenizer) as place:
        if source.corpus and corpus is not None:
            raise PrunebenchError(f"'corpus' is an older name of '{name}': give one of them")
        request = Request(
            model=place.name,
            stored=place.stored,
            method=method,
            sparsity=sparsity,
            pattern=pattern,
            allocator=allocator,
            params=method_params or {},
            allocator_params=allocator_params or {},
            tokens=source.tokens,
            text=source.text,
            column=column if is_path(given) else None,
            bos=bos,
            corpus=source.corpus or corpus or Request.corpus,
            samples=samples,
            seqlen=seqlen,
            seed=seed,
            compute=settings(dtype, batch_size, threads),
        )
        packing = packing_of(packed, bits, group)
        ready = prepared(request, [f"'{name}'"] if given is not None else [])
        if ready.work.cell.calibrated and not source.tokens:
            place.require_tokenizer()
        if out is not None:
            refuse_destination(ready, Path(out), force=force)
        for note in ready.notes:
            tell(note)
        if out is not None:
            place.save()
            return Pruned(Path(out), prune_to(ready, Path(out), force=force, packing=packing))
        with tempfile.TemporaryDirectory(prefix="prunebench-") as scratch:
            place.save()
            record = prune_to(ready, Path(scratch) / "pruned", packing=packing)
            return _named(Pruned(Path(scratch) / "pruned", record).load(), model, place, device)


def one_of(name: str, given: Any, older: Any) -> tuple[str, Any]:
    """Return (name, value) of the argument that was given. Raises PrunebenchError if both were given."""
    names = {"calibration": "tokens", "text": "tokens", "method_params": "params"}
    if given is not None and older is not None:
        raise PrunebenchError(f"'{names[name]}' is an older name of '{name}': give one of them")
    return (name, given) if older is None else (names[name], older)


def _check_out(out: Any) -> None:
    if not is_path(out):
        raise PrunebenchError("'out' is no path: give the name of a directory")
    named_destination(out, "'out'")


def _named(pruned: PreTrainedModel, model: Model, place: Placed, device: Device) -> PreTrainedModel:
    """Give a pruned model that was in a temporary directory the name and the device of the model it was made from."""
    name = str(place.memory.config.name_or_path or "") if place.memory is not None else str(model)
    pruned.config.name_or_path = pruned.name_or_path = name
    holder = device_of(model)
    if holder is not None and device in (None, "auto"):
        pruned.to(holder)  # type: ignore[arg-type]  # transformers declares another type
    return pruned
