"""Advice about model directories that cannot be read: what they hold instead, and what to do with it."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.storage.files import AGAIN, LFS
from prunebench.storage.packed import PACKED, PACKED_AGAIN

log = logging.getLogger("prunebench")

RESAVE = "load it with from_pretrained and write it with save_pretrained"

_ADAPTER = "adapter_config.json"


def without_config(directory: Path) -> str:
    """The end of an error message about a directory without config.json: what it holds, and what to do with it."""
    if (directory / _ADAPTER).is_file():
        return "it is an adapter. Load it with its base model, call merge_and_unload(), and save the whole model"
    if ggufs := sorted(directory.glob("*.gguf")):
        return f"it holds {ggufs[0].name}. {_gguf(ggufs[0])}"
    return "name a directory that from_pretrained can load"


def instead(directory: Path) -> str:
    """The end of an error message: other weights that the directory holds, and what to do with them."""
    names = sorted(path.name for path in directory.iterdir() if path.is_file())
    if ggufs := [name for name in names if name.endswith(".gguf")]:
        return f"its weights are {ggufs[0]}. {_gguf(directory / ggufs[0])}"
    if pickled := [name for name in names if Path(name).suffix in (".bin", ".pt", ".pth", ".ckpt")]:
        return f"its weights are pickled ({pickled[0]}); {RESAVE}"
    if others := [name for name in names if name.endswith(".safetensors")]:
        return f"from_pretrained does not load {others[0]} by itself. Give the file that name, or {RESAVE}"
    return "no weights are there"


def _gguf(file: Path) -> str:
    return f"Load it with from_pretrained(..., gguf_file={file.name!r}) and write it with save_pretrained"


def damage(file: Path, error: Exception) -> str:
    """The end of an error message: what is wrong with a file that is not safetensors, and what to do."""
    again = PACKED_AGAIN if file.name == PACKED else AGAIN
    try:
        with file.open("rb") as handle:
            start = handle.read(len(LFS))
        if not start:
            return f"is empty: {again}"
        if start == LFS:
            return "is a Git LFS pointer, not the weights: run `git lfs pull` in its directory"
    except OSError as problem:
        return f"cannot be read: {problem.strerror}"
    return f"is damaged or cut short ({error}): {again}"


def absent(directory: Path, name: str, names: Iterable[str]) -> PrunebenchError:
    """The error for a tensor `name` that no file in `directory` holds; `names` are the tensors that files hold."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0)
    hint = f" (but {near[0]})" if near else ""
    return PrunebenchError(
        f"{directory} has no tensor {name}{hint}: is the download complete, and are the names those of transformers?"
    )


def mind_adapters(directory: Path) -> None:
    """Refuse an adapter that `from_pretrained` would add to the model; warn of one that it would ignore."""
    if not (directory / _ADAPTER).is_file():
        return
    if find_spec("peft"):
        raise PrunebenchError(
            f"{directory} holds an adapter ({_ADAPTER}), which from_pretrained adds to the model: call "
            "merge_and_unload() and save the whole model, or move the adapter elsewhere"
        )
    log.warning("%s: the adapter beside the model is not read, as peft is not installed", directory)
