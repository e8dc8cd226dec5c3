"""Documents -> one stream of token ids -> windows. Calibration and perplexity cut their text the same way."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from prunebench.errors import PrunebenchError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SEPARATOR = "\n\n"


def load_tokenizer(directory: Path) -> "PreTrainedTokenizerFast":
    """The tokenizer of a `from_pretrained` directory; never looks beyond that directory.

    Raises PrunebenchError if there is none, or none that transformers can run as a fast (Rust) tokenizer.
    """
    # Imported here: evaluation suites import this module while the Snakefile parses.
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except (OSError, ValueError) as error:
        raise PrunebenchError(f"cannot load a tokenizer from {directory}: {error}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise PrunebenchError(f"{directory} has no fast tokenizer: add its tokenizer.json")
    return tokenizer


def token_stream(tokenizer: "PreTrainedTokenizerFast", documents: list[str], *, bos: bool) -> NDArray[np.int64]:
    """The documents as one int64 vector: each tokenised alone, the tokens of a blank line between two of them.

    `bos` puts one beginning-of-text token at the very front and nowhere else.
    Raises PrunebenchError if `bos` is asked of a tokenizer that has no such token.
    """
    if not documents:
        return np.empty(0, dtype=np.int64)
    # verbose=False: a document longer than the model's context is fine here, windows are cut below.
    encoded = tokenizer([SEPARATOR, *documents], add_special_tokens=False, return_attention_mask=False, verbose=False)
    separator, *token_lists = encoded["input_ids"]
    stream = [_bos_token(tokenizer)] if bos else []
    stream += token_lists[0]
    for tokens in token_lists[1:]:
        stream += separator
        stream += tokens
    return np.array(stream, dtype=np.int64)


def cut_windows(stream: NDArray[np.int64], seqlen: int) -> NDArray[np.int64]:
    """The non-overlapping windows of `stream`, [n, seqlen]; the tail that fills no window is dropped."""
    count = len(stream) // seqlen
    return stream[: count * seqlen].reshape(count, seqlen)


def first_windows(
    tokenizer: "PreTrainedTokenizerFast",
    documents: list[str],
    seqlen: int,
    count: int | None,
    what: str,
    *,
    bos: bool = False,
) -> NDArray[np.int64]:
    """The first `count` (None: all) windows [n, seqlen] of the stream of `documents`, which errors call `what`.

    Raises PrunebenchError if the text is too short.
    """
    stream = token_stream(tokenizer, documents, bos=bos)
    windows = cut_windows(stream, seqlen)
    wanted = count or 1
    if len(windows) < wanted:
        raise PrunebenchError(
            f"{what} has {len(stream)} tokens, too few for {wanted} windows of {seqlen}: lower 'seqlen' or 'windows'"
        )
    return windows[:count]


def _bos_token(tokenizer: "PreTrainedTokenizerFast") -> int:
    if tokenizer.bos_token_id is None:
        raise PrunebenchError("the tokenizer has no beginning-of-text token: set 'bos: false'")
    return int(tokenizer.bos_token_id)
