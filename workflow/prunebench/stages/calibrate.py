"""Rule calibrate: the calibration split of a corpus, tokenised by a model -> one hashed array for all methods."""

import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, PositiveInt

from prunebench.assets.corpora import Split, load_split
from prunebench.assets.manifest import load_manifest
from prunebench.assets.tokens import cut_windows, load_tokenizer, token_stream
from prunebench.canonical import spec_hash
from prunebench.errors import PrunebenchError
from prunebench.files import atomic_path, sha256_file, write_json

SPLIT: Split = "calibration"


class CalibrateSpec(BaseModel):
    """The part of the spec that this stage reads."""

    samples: PositiveInt
    seqlen: PositiveInt
    seed: int
    bos: bool = False


def calibrate(spec: str, model: Path, corpus: Path, tokens: Path, record: Path) -> None:
    """Write `tokens` (.npy, int64 [samples, seqlen]) and `record` (JSON) for the canonical JSON `spec`.

    `model` and `corpus` are asset.json paths. The split is packed into one stream, because few packaged documents
    fill a window alone. Raises PrunebenchError if an asset is damaged or the corpus too short.
    """
    wanted = CalibrateSpec.model_validate_json(spec)
    model_manifest, corpus_manifest = load_manifest(model), load_manifest(corpus)
    documents = load_split(corpus_manifest.directory, SPLIT)
    stream = token_stream(load_tokenizer(model_manifest.directory), documents, bos=wanted.bos)
    windows = cut_windows(stream, wanted.seqlen)
    if len(windows) < wanted.samples:
        raise PrunebenchError(
            f"'{corpus_manifest.title}' is too short: its {SPLIT} split has {len(stream)} tokens for "
            f"'{model_manifest.title}', but {wanted.samples} windows of {wanted.seqlen} need "
            f"{wanted.samples * wanted.seqlen}. Lower 'samples' or 'seqlen', or name a larger corpus"
        )
    write_array(tokens, draw(windows, wanted.samples, wanted.seed))
    write_json(
        record,
        {
            "spec_hash": spec_hash(spec),
            "sha256": sha256_file(tokens),
            "samples": wanted.samples,
            "seqlen": wanted.seqlen,
            "stream_tokens": len(stream),
            "windows_available": len(windows),
        },
    )


def draw(windows: NDArray[np.int64], samples: int, seed: int) -> NDArray[np.int64]:
    """`samples` different rows of `windows`, in the order drawn."""
    return windows[random.Random(seed).sample(range(len(windows)), samples)]


def write_array(path: Path, array: NDArray[np.int64]) -> None:
    """Write `array` to `path` as .npy, atomically; equal arrays give equal bytes."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, array, allow_pickle=False)
