"""Bits per byte on text that was not trained on, which are comparable between tokenizers and with n-grams."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from prunebench.training.loop import token_losses
from prunebench.training.ngrams import ORDER, Trigrams, unigram_losses
from prunebench.training.tokenizer import token_bytes

Integers = NDArray[np.int64]
BATCH = 8


class Scorer:
    """A model, and the unigrams and trigrams of the tokens that it was trained on."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, stream: Integers, dtype: torch.dtype
    ) -> None:
        """`stream` is the tokens [n] that the model was trained on."""
        self._model, self._dtype, self._stream = model, dtype, stream
        self._bytes = token_bytes(tokenizer)
        self._trigrams = Trigrams(stream, len(tokenizer))

    def score(self, windows: Integers) -> dict[str, Any]:
        """Bits per byte of model, trigrams and unigrams on `windows` [n, context], and the model's perplexity by token.

        The first two tokens of a window are not scored, as trigrams need them as context.
        """
        targets = windows[:, ORDER - 1 :].ravel()
        contexts = np.stack([windows[:, :-2].ravel(), windows[:, 1:-1].ravel()], axis=1)
        losses = {
            "model": self._model_losses(windows),
            "trigram": self._trigrams.losses(contexts, targets),
            "unigram": unigram_losses(self._stream, targets, len(self._bytes)),
        }
        size = int(self._bytes[targets].sum())
        return {
            "tokens": len(targets),
            "bytes": size,
            "perplexity": math.exp(losses["model"].mean()),
            "bits_per_byte": {name: float(values.sum()) / math.log(2) / size for name, values in losses.items()},
        }

    @torch.no_grad()
    def _model_losses(self, windows: Integers) -> NDArray[np.float64]:
        batches = torch.split(torch.from_numpy(windows), BATCH)
        losses = torch.cat([token_losses(self._model, batch, self._dtype)[:, ORDER - 2 :].cpu() for batch in batches])
        flat: NDArray[np.float64] = losses.double().numpy().ravel()
        return flat
