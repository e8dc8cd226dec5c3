"""Rule calibrate: the calibration split of a corpus, tokenised by a model -> one hashed array for all methods."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, PositiveInt

from prunebench.assets.corpora import Split, load_split
from prunebench.assets.manifest import load_manifest
from prunebench.assets.tokens import cut_windows, load_tokenizer, token_stream
from prunebench.canonical import spec_hash
from prunebench.errors import PrunebenchError
from prunebench.files import atomic_path, sha256_file, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPLIT: Split = "calibration"


class CalibrateSpec(BaseModel):
    """The part of the spec that this stage reads."""

    samples: PositiveInt
    seqlen: PositiveInt
    seed: int
    bos: bool = False
    strategy: Literal["pack", "documents"] = "pack"


def calibrate(spec: str, model: Path, corpus: Path, tokens: Path, record: Path) -> None:
    """Write `tokens` (.npy, int64 [samples, seqlen]) and `record` (JSON) for the canonical JSON `spec`.

    `model` and `corpus` are asset.json paths. Unless the spec says `documents`, the split is packed into one stream,
    because few packaged documents fill a window alone.
    Raises PrunebenchError if an asset is damaged or the corpus too short.
    """
    wanted = CalibrateSpec.model_validate_json(spec)
    model_manifest, corpus_manifest = load_manifest(model), load_manifest(corpus)
    documents = load_split(corpus_manifest.directory, SPLIT)
    tokenizer = load_tokenizer(model_manifest.directory)
    names = f"'{corpus_manifest.title}'", f"'{model_manifest.title}'"
    strategy = _from_documents if wanted.strategy == "documents" else _from_stream
    windows, found = strategy(tokenizer, documents, wanted, *names)
    write_array(tokens, windows)
    write_json(
        record,
        {
            "spec_hash": spec_hash(spec),
            "sha256": sha256_file(tokens),
            "samples": wanted.samples,
            "seqlen": wanted.seqlen,
            **found,
        },
    )


def _from_stream(
    tokenizer: "PreTrainedTokenizerFast", documents: list[str], wanted: CalibrateSpec, corpus: str, model: str
) -> tuple[NDArray[np.int64], dict[str, int]]:
    stream = token_stream(tokenizer, documents, bos=wanted.bos)
    windows = cut_windows(stream, wanted.seqlen)
    if len(windows) < wanted.samples:
        raise PrunebenchError(
            f"{corpus} is too short: its {SPLIT} split has {len(stream)} tokens for {model}, but {wanted.samples} "
            f"windows of {wanted.seqlen} need {wanted.samples * wanted.seqlen}. Lower 'samples' or 'seqlen', or name a "
            "larger corpus"
        )
    found = {"stream_tokens": len(stream), "windows_available": len(windows)}
    return draw(windows, wanted.samples, wanted.seed), found


def _from_documents(
    tokenizer: "PreTrainedTokenizerFast", documents: list[str], wanted: CalibrateSpec, corpus: str, model: str
) -> tuple[NDArray[np.int64], dict[str, int]]:
    windows, rejected = draw_from_documents(
        # As the tokenizer does it by itself: those of OPT and LLaMA put their BOS in front.
        lambda document: tokenizer(document, verbose=False)["input_ids"],
        documents,
        wanted.samples,
        wanted.seqlen,
        wanted.seed,
    )
    if len(windows) < wanted.samples:
        raise PrunebenchError(
            f"{corpus} has no document of more than {wanted.seqlen} tokens for {model} in its {SPLIT} split: lower the "
            "length in 'calibration', or name a corpus of longer documents"
        )
    return windows, {"documents": len(documents), "documents_rejected": rejected}


def draw_from_documents(
    encode: Callable[[str], list[int]], documents: list[str], samples: int, seqlen: int, seed: int
) -> tuple[NDArray[np.int64], int]:
    """Windows int64 [samples, seqlen], each from a random place in a random document of more than `seqlen` tokens.

    Draws as the published codes of SparseGPT and Wanda do after `random.seed(seed)`, documents that are too short
    included: with their shard of C4 these are their windows. Also returns how many documents were found too short;
    if that is all of them, there are no windows.
    """
    random_ = random.Random(seed)
    short: set[int] = set()
    windows: list[list[int]] = []
    while len(windows) < samples and len(short) < len(documents):
        index = random_.randint(0, len(documents) - 1)
        tokens = [] if index in short else encode(documents[index])
        if len(tokens) > seqlen:
            start = random_.randint(0, len(tokens) - seqlen - 1)
            windows.append(tokens[start : start + seqlen])
        else:
            short.add(index)
    return np.array(windows, dtype=np.int64).reshape(len(windows), seqlen), len(short)


def draw(windows: NDArray[np.int64], samples: int, seed: int) -> NDArray[np.int64]:
    """`samples` different rows of `windows`, in the order drawn."""
    return windows[random.Random(seed).sample(range(len(windows)), samples)]


def write_array(path: Path, array: NDArray[np.int64]) -> None:
    """Write `array` to `path` as .npy, atomically; equal arrays give equal bytes."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, array, allow_pickle=False)
