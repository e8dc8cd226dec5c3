"""A byte-level BPE tokenizer that is learned from the text that the model is trained on."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END = "</s>"
"""OPT's token for the beginning and the end of a text."""
PAD = "<pad>"


def train_tokenizer(documents: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer with at most `vocabulary` entries, among them every byte; numbers are split into digits.

    A document that spells a special token, for example the source of a web page with `</s>`, is text like any other.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    special = {"bos_token": END, "eos_token": END, "pad_token": PAD, "split_special_tokens": True}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def token_bytes(tokenizer: PreTrainedTokenizerFast) -> NDArray[np.int64]:
    """The number of bytes of each token id, int64 [vocabulary]: a character of a byte-level vocabulary is a byte."""
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return np.array([0 if name in (PAD, END) else len(name) for name in names], dtype=np.int64)
