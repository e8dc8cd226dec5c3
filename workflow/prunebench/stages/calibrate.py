"""Stage calibrate: tokenise the calibration split of a corpus for a model, as one hashed array for all methods."""

import importlib
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prunebench.assets.corpora import Split, load_split
from prunebench.assets.manifest import Manifest, verified
from prunebench.assets.tokens import (
    Front,
    bos_token,
    check_ids,
    encode,
    front_of,
    in_words,
    load_tokenizer,
    of_tokenizer,
    room,
    stream_windows,
    with_front,
)
from prunebench.errors import PrunebenchError
from prunebench.identity.canonical import spec_hash
from prunebench.lazy import torch
from prunebench.plan.jobs.calibrate import EMBEDDER, WRITER, CalibrateSpec, Generation, Pairs
from prunebench.runtime.provenance import refuse_other_versions
from prunebench.storage.files import atomic_path, sha256_file
from prunebench.storage.sealed import write_record

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

log = logging.getLogger("prunebench")

SPLIT: Split = "calibration"


def calibrate(spec: str, model: Path, corpus: Path | None, tokens: Path, record: Path) -> None:
    """Write `tokens` (.npy, int64 [samples, seqlen]) and `record` (JSON) for the canonical JSON `spec`.

    Where the spec has `pairs`, `corpus` is a bundle of tasks with images, and `tokens` are the inputs of the first
    block, float32 [samples, seqlen, hidden + 1] (see `engine.activations.embed`).

    `model` and `corpus` are asset.json paths. Unless the spec says `documents`, the split is packed into one stream,
    because few documents of packages fill a window alone. Where the spec has a `generation`, the model writes the
    windows, after their first tokens or, without a corpus, after a beginning-of-text token.
    Raises PrunebenchError if an asset is damaged, the corpus too short, or a token unknown to the model.
    """
    settings = CalibrateSpec.model_validate_json(spec)
    model_manifest = verified(model, settings.model)
    if settings.pairs is not None:
        assert corpus is not None  # the bundle of tasks
        _write(tokens, record, settings, spec, *_embedded(model_manifest, corpus, settings, settings.pairs))
        return
    tokenizer = load_tokenizer(model_manifest.directory)
    front = front_of(tokenizer, settings.bos)
    log.info("calibration with %s", in_words(front, settings.bos, tokenizer))
    windows: NDArray[np.int64] | None = None
    counts: dict[str, Any] = {}
    made_by = f"'{model_manifest.title}'"
    if corpus is not None:
        manifest = verified(corpus, settings.corpus)
        names = f"'{manifest.title}'", f"'{model_manifest.title}'"
        documents = load_split(manifest.directory, SPLIT)
        strategy = _from_documents if settings.strategy == "documents" else _from_stream
        windows, counts = strategy(tokenizer, documents, settings, front, *names)
        made_by = of_tokenizer(names[1], names[0])
    if settings.generation is not None:
        windows, more = _written(tokenizer, model_manifest.directory, settings, settings.generation, front, windows)
        counts |= more
    assert windows is not None and model_manifest.shape is not None  # all models have one
    check_ids(windows, model_manifest.shape.vocabulary, made_by)
    _write(tokens, record, settings, spec, windows, {"bos": front, **counts})


def _write(
    tokens: Path, record: Path, settings: CalibrateSpec, spec: str, windows: NDArray[Any], more: dict[str, Any]
) -> None:
    write_array(tokens, windows)
    write_record(
        record,
        {
            "spec_hash": spec_hash(spec),
            "sha256": sha256_file(tokens),
            "samples": settings.samples,
            "seqlen": settings.seqlen,
            **more,
        },
    )


def _embedded(
    model: Manifest, bundle: Path, settings: CalibrateSpec, pairs: Pairs
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Windows float32 [samples, seqlen, hidden + 1] of images and text, and counts for the record."""
    # A static import would give the code of the suite a part in the fingerprints of texts.
    embedder = importlib.import_module(f"prunebench.{EMBEDDER}")
    rows = verified(bundle, settings.corpus).directory
    refuse_other_versions(pairs.versions)
    windows, counts = embedder.embedded(
        model.directory,
        rows,
        pairs.family,
        pairs.storage,
        pairs.compute,
        task=pairs.task,
        text_only=pairs.text_only,
        samples=settings.samples,
        seqlen=settings.seqlen,
        seed=settings.seed,
    )
    return windows, {"pairing": pairs.model_dump(mode="json"), **counts}


def _from_stream(
    tokenizer: "PreTrainedTokenizerFast",
    documents: list[str],
    settings: CalibrateSpec,
    front: Front,
    corpus: str,
    model: str,
) -> tuple[NDArray[np.int64], dict[str, int]]:
    windows, tokens = stream_windows(tokenizer, documents, settings.seqlen, front=front)
    if len(windows) < settings.samples:
        fewer = f"the number of windows ('samples') to {len(windows)}, or " if len(windows) else ""
        raise PrunebenchError(
            f"{corpus} is too short: its {SPLIT} split has {tokens} tokens for {model}, but {settings.samples} "
            f"windows of {settings.seqlen} need {settings.samples * room(settings.seqlen, front)}. Lower {fewer}their "
            "length ('seqlen'), or name a larger text"
        )
    counts = {"stream_tokens": tokens, "windows_available": len(windows)}
    return draw(windows, settings.samples, settings.seed), counts


def _written(
    tokenizer: "PreTrainedTokenizerFast",
    model: Path,
    settings: CalibrateSpec,
    generation: Generation,
    front: Front,
    windows: NDArray[np.int64] | None,
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Windows int64 [samples, seqlen], of which the model writes the last `generation.windows`, or all.

    The others are the first ones of `windows`. A window begins with the first tokens of its place in `windows`, or
    after the model's beginning-of-text token, which is left out unless `front` asks for it.
    """
    length = settings.seqlen
    count = generation.windows or settings.samples
    kept = settings.samples - count
    if generation.prompt_tokens is None:
        starts = np.full((count, 1), _first_token(tokenizer), dtype=np.int64)
        length += not front
    else:
        assert windows is not None
        starts = windows[kept:, : generation.prompt_tokens + (front == "window")]
    # A static import would give the code of the engine a part in the fingerprints of texts that no model writes.
    writer = importlib.import_module(f"prunebench.{WRITER}")
    text = writer.continued(
        model,
        generation.family,
        generation.storage,
        generation.compute,
        generation.sampling,
        torch.from_numpy(starts),
        length,
        settings.seed,
    )
    own = text.numpy()[:, -settings.seqlen :]
    both = own if windows is None else np.concatenate([windows[:kept], own])
    return both, {"generation": generation.model_dump(mode="json")}


def _first_token(tokenizer: "PreTrainedTokenizerFast") -> int:
    """The token after which a model begins a text. Raises PrunebenchError if the tokenizer has none."""
    try:
        return bos_token(tokenizer)
    except PrunebenchError:
        raise PrunebenchError(
            "the tokenizer has no beginning-of-text token after which the model could write: name a corpus as "
            "'prompts' of the generated one, and take at least one of its tokens by 'prompt_tokens'"
        ) from None


def _from_documents(
    tokenizer: "PreTrainedTokenizerFast",
    documents: list[str],
    settings: CalibrateSpec,
    front: Front,
    corpus: str,
    model: str,
) -> tuple[NDArray[np.int64], dict[str, int]]:
    windows, rejected = draw_from_documents(
        # The tokenizer adds its own special tokens (BOS in front, for OPT and LLaMA), unless each window gets one.
        lambda document: encode(tokenizer, [document], special=not front)[0],
        documents,
        settings.samples,
        room(settings.seqlen, front),
        settings.seed,
    )
    if len(windows) < settings.samples:
        raise PrunebenchError(
            f"{corpus} has no document of more than {settings.seqlen} tokens for {model} in its {SPLIT} split: "
            "lower the length in 'calibration', or name a corpus of longer documents"
        )
    counts = {"documents": len(documents), "documents_rejected": rejected}
    return with_front(windows, tokenizer) if front else windows, counts


def draw_from_documents(
    encode: Callable[[str], list[int]], documents: list[str], samples: int, seqlen: int, seed: int
) -> tuple[NDArray[np.int64], int]:
    """Draw windows int64 [samples, seqlen], each from a random place in a random document of more than `seqlen` tokens.

    The draws are those of the published codes of SparseGPT and Wanda after `random.seed(seed)`, documents that are too
    short included: with their shard of C4 the windows are theirs. Also returns how many documents were too short; if
    that is all of them, there are no windows.
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
    """Draw `samples` different rows of `windows` [n, seqlen]; they stay in the order drawn."""
    return windows[random.Random(seed).sample(range(len(windows)), samples)]


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write `array` to `path` as .npy, atomically; equal arrays give equal bytes."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, array, allow_pickle=False)
