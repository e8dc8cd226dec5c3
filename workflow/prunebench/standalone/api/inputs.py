"""The models, texts and token ids that users give to Python functions, brought into files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from transformers import PreTrainedModel

from prunebench.assets.tokens import check_array
from prunebench.engine.placement.device import own_memory
from prunebench.errors import PrunebenchError
from prunebench.names import slug
from prunebench.packed.dense import dense_copy, is_packed
from prunebench.registry import did_you_mean
from prunebench.stages.calibrate import write_array
from prunebench.standalone.api.calling import no_bars
from prunebench.standalone.arguments import in_python, is_path, texts_or_ids
from prunebench.standalone.request import stored_entries
from prunebench.storage.files import named_path, write_text
from prunebench.storage.layout import CONFIG, check_config

Model = str | Path | PreTrainedModel
"""A `from_pretrained` directory, a name of the catalog, an id on the hub (owner/name or owner/name@revision), or a
model in memory."""


class Dataset(Protocol):
    """A dataset with named columns, as those of datasets and pyarrow."""

    @property
    def column_names(self) -> Any:
        """The names of the columns."""

    def __getitem__(self, key: Any) -> Any:
        """Return a column."""


Given = ArrayLike | torch.Tensor | Iterable[str] | Dataset | str | Path
"""Text or token ids. Text is an iterable of strings, each one document (a set is sorted); a dataset with a column of
texts; the name of a file or directory; or the name of a corpus of the catalog. Token ids are an integer array
[windows, seqlen] or the name of an .npy file."""


@dataclass(frozen=True)
class Own:
    """The form in which a user gave text or token ids. All are None if the user gave neither."""

    tokens: Path | None = None
    text: Path | None = None
    corpus: str | None = None


@dataclass
class Placed:
    """A model by the name that commands take. A model in memory has its config and its tokenizer on disk."""

    name: str
    memory: PreTrainedModel | None = None
    tokenizer: Any = None
    stored: bool = field(init=False)
    """Whether the weights are on disk."""

    def __post_init__(self) -> None:
        self.stored = self.memory is None

    @property
    def title(self) -> str:
        """The name that the user knows: of a model in memory what it was loaded from, or its class."""
        if self.memory is None:
            return self.name
        return str(self.memory.config.name_or_path or type(self.memory).__name__)

    def save(self) -> None:
        """Save the weights of a model in memory, which takes seconds to minutes: call it after all checks."""
        if self.memory is not None and not self.stored:
            whole = dense_copy(self.memory) if is_packed(self.memory) else self.memory
            with no_bars():
                whole.save_pretrained(self.name)
            self.stored = True

    def require_tokenizer(self) -> None:
        """Raise PrunebenchError if no text could be cut into tokens, as a model in memory came without a tokenizer."""
        if self.memory is not None and self.tokenizer is None:
            raise PrunebenchError(
                "a model in memory has no tokenizer: give token ids in place of text, or its tokenizer as 'tokenizer'"
            )


def check_model(model: Any, tokenizer: Any, name: str = "model") -> None:
    """Raise PrunebenchError unless `model`, the argument `name`, is a model, and `tokenizer` fits to it."""
    if is_path(model):
        named_path(model, f"'{name}'")
    elif not isinstance(model, PreTrainedModel):
        raise PrunebenchError(
            f"'{name}' is of the type {type(model).__name__}: give the name of a directory or of the catalog, an id on "
            "the hub, or a PreTrainedModel"
        )
    elif any(tensor.is_meta for tensor in model.parameters()) and not hasattr(model, "hf_device_map"):
        raise PrunebenchError(f"'{name}' is on the device meta and has no weights: load it with its weights")
    if tokenizer is None:
        return
    if is_path(model):
        raise PrunebenchError("'tokenizer' belongs to a model in memory, as a directory has its own: leave it out")
    if not callable(getattr(tokenizer, "save_pretrained", None)):
        raise PrunebenchError(f"'tokenizer' is of the type {type(tokenizer).__name__}: give one of transformers")


def refuse_packed(model: Model, name: str) -> None:
    """Raise PrunebenchError if `model`, the argument `name`, is a packed model in memory, whose form would be lost."""
    if isinstance(model, PreTrainedModel) and is_packed(model):
        raise PrunebenchError(
            f"'{name}' is a packed model in memory: give the directory that it was loaded from, or that `prune` writes "
            "with 'out'"
        )


@contextmanager
def placed(model: Model, tokenizer: Any = None) -> Iterator[Placed]:
    """Give `model` by a name. The files of a model in memory are there for as long as the context lasts.

    Raises PrunebenchError if a model in memory cannot be pruned.
    """
    if not isinstance(model, PreTrainedModel):
        yield Placed(str(model))
        return
    with tempfile.TemporaryDirectory(prefix="prunebench-") as scratch:
        directory = Path(scratch) / (slug(Path(model.config.name_or_path or "").name) or "model")
        model.config.save_pretrained(directory)
        title = type(model).__name__
        with in_python({str(directory): title}):
            check_config(directory / CONFIG, title)
            if tokenizer is not None:
                tokenizer.save_pretrained(directory)
            yield Placed(str(directory), model, tokenizer)


def device_of(model: Model) -> torch.device | None:
    """Return the accelerator that holds a model in memory; None for the CPU and for a model on disk."""
    if isinstance(model, PreTrainedModel) and own_memory(model.device) and model.device.type != "meta":
        return model.device
    return None


@contextmanager
def own(name: str, given: Given | None, column: str | None) -> Iterator[Own]:
    """Give the file or corpus of the argument `name`. A value in memory is in a file for as long as the context lasts.

    Errors that arise inside the context name the argument in place of that file.
    """
    if given is None:
        yield Own()
    elif is_path(given):
        yield _named(name, given)
    else:
        texts, ids = texts_or_ids(given, name, column)
        with tempfile.TemporaryDirectory(prefix="prunebench-") as directory:
            path = Path(directory) / ("tokens.npy" if texts is None else "texts.jsonl")
            with in_python({str(path): f"'{name}'", f"'{path.name}'": f"'{name}'"}):
                if texts is None:
                    write_array(path, _array(ids, name))
                    yield Own(tokens=path)
                else:
                    write_text(path, "".join(json.dumps({"text": text}) + "\n" for text in texts))
                    yield Own(text=path)


def _named(name: str, given: str | Path) -> Own:
    """Find the file, directory or corpus that a user has named. Raises PrunebenchError if there is none."""
    path = Path(given)
    if isinstance(given, str) and given.strip() and not _exists(path):
        corpora = stored_entries("corpora")
        if given in corpora:
            return Own(corpus=given)
        near = did_you_mean(given, corpora, list_all=False)
        raise PrunebenchError(
            f"no such file or directory: {given[:80]!r}{near}: a text itself goes into a list, [text]"
        )
    named_path(given, f"'{name}'")
    return Own(tokens=path) if path.suffix.lower() == ".npy" else Own(text=path)


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
