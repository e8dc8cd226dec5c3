"""Images with text as calibration: what they become in front of the first block of a vision-language model."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunebench.assets.pictures import LETTERS, Pictures
from prunebench.assets.tasks import Row, load_rows
from prunebench.config.values import Compute
from prunebench.engine.model import StreamedModel
from prunebench.errors import PrunebenchError
from prunebench.registry import load
from prunebench.runtime.progress import track
from prunebench.storage.layout import read_config
from prunebench.storage.tensors import storage_dtype
from prunebench.suites.viewer import Prompter, question_of


def embedded(
    directory: Path,
    bundle: Path,
    family: str,
    storage: str,
    compute: Compute,
    *,
    task: str,
    text_only: bool,
    samples: int,
    seqlen: int,
    seed: int,
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Windows float32 [samples, seqlen, hidden + 1] for the model in `directory`, and counts.

    A window holds one question about an image with its answer after the other, in the order that `seed` draws, each in
    LLaVA-1.5's prompt; the last one is cut off. Pruning does not touch what makes these inputs of the first block: the
    embedding, the vision tower and the projector. The last column is 1 for tokens that statistics count.

    `bundle` is the directory of a bundle of tasks; `family` and `storage` are the words of specs.
    Raises PrunebenchError if the model's blocks tell tokens of images from those of text, or for too few questions.
    """
    names, kind = load("models", family), read_config(directory)["model_type"]
    if kind not in names.paired:
        raise PrunebenchError(
            f"{directory} is a {kind!r} model, whose blocks tell tokens of images from those of text: calibrate it on "
            f"text (known: {', '.join(sorted(names.paired))})"
        )
    dtype = storage_dtype(compute.dtype)
    assert dtype is not None
    prompter = Prompter(directory, names, prompt="llava", pad=True)
    model = StreamedModel(directory, names, dtype=dtype, storage=storage_dtype(storage))
    model.check_length(seqlen)
    image = prompter.tokenizer.convert_tokens_to_ids(prompter.image)
    pictures = Pictures(bundle)
    rows = [row for part in load_rows(bundle, task).values() for row in part]
    random.Random(seed).shuffle(rows)
    order = iter(rows)
    windows: list[Tensor] = []
    seen = 0
    for _ in track(range(samples), "window"):
        parts: list[Tensor] = []
        while sum(map(len, parts)) < seqlen:
            row = next(order, None)
            if row is None:
                raise PrunebenchError(
                    f"{len(rows)} questions of {task!r} fill {len(windows)} windows of {seqlen} tokens, not "
                    f"{samples}: lower the number or the length in 'calibration'"
                )
            answer = answer_of(row).replace(prompter.image, "").strip()  # each pair has one image
            text = f"{prompter.text(question_of(row, ocr=False))} {answer}{prompter.tokenizer.eos_token or ''}"
            inputs = prompter.inputs([text], [pictures.read(row["image"])], model.device, dtype)
            tokens = inputs.pop("input_ids")
            inputs.pop("attention_mask")  # nothing is padded
            with prompter.fitting():
                hidden, _ = model.embed(tokens, **inputs)
            counted = tokens[0] != image if text_only else torch.ones_like(tokens[0])
            parts.append(torch.cat([hidden[0].float(), counted[:, None].float()], dim=1).cpu())
        windows.append(torch.cat(parts)[:seqlen])
        seen += len(parts)
    array: NDArray[np.float32] = torch.stack(windows).numpy()
    return array, {"pairs": seen, "counted_tokens": int(array[..., -1].sum())}


def answer_of(row: Row) -> str:
    """The answer to learn from: the letter of the right choice, or what most people said."""
    if "choices" in row:
        return LETTERS[row["answer"]]
    return str(Counter(row["answers"]).most_common(1)[0][0])
