"""Documents -> one stream of token ids -> windows. Calibration and perplexity cut their text the same way."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from prunebench.assets.corpora import SEPARATOR
from prunebench.config.entries import Bos
from prunebench.errors import PrunebenchError, summary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Front = bool | Literal["window"]
"""Where the beginning-of-text token of a stream stands: nowhere, at its front, or in front of each window."""

_NUMPY = b"\x93NUMPY"
"""What an .npy file begins with."""


def load_tokenizer(directory: Path) -> "PreTrainedTokenizerFast":
    """The tokenizer of a `from_pretrained` directory; never looks beyond that directory.

    Raises PrunebenchError if there is none, or none that transformers can run as a fast (Rust) tokenizer.
    """
    # Imported here: evaluation suites import this module while the Snakefile parses.
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    # Of a damaged file the Rust library raises plain Exceptions, transformers whatever its parsers do.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise PrunebenchError(f"cannot load a tokenizer from {directory}: {reason}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise PrunebenchError(f"{directory} has no fast tokenizer: add its tokenizer.json")
    return tokenizer


@contextmanager
def encoding(tokenizer: "PreTrainedTokenizerFast") -> Iterator[None]:
    """PrunebenchError if the tokenizer, which was loaded, cannot encode a text."""
    try:
        yield
    # The Rust library raises plain Exceptions.
    except Exception as error:
        raise PrunebenchError(
            f"the tokenizer of {tokenizer.name_or_path or 'the model'} cannot encode text ({summary(error)}): its "
            "tokenizer.json and tokenizer_config.json do not fit together"
        ) from error


def encode(tokenizer: "PreTrainedTokenizerFast", texts: list[str], *, special: bool = False) -> list[list[int]]:
    """The token ids of each text, with `special` those that the tokenizer adds by itself included.

    Raises PrunebenchError if the tokenizer cannot encode them.
    """
    with encoding(tokenizer):
        # verbose=False: a text longer than the model's context is fine, windows are cut from it.
        options = {"add_special_tokens": special, "return_attention_mask": False, "verbose": False}
        tokens: list[list[int]] = tokenizer(texts, **options)["input_ids"]
    return tokens


def token_stream(tokenizer: "PreTrainedTokenizerFast", documents: list[str], *, bos: bool) -> NDArray[np.int64]:
    """The documents as one int64 vector: each tokenised alone, the tokens of a blank line between two of them.

    `bos` puts one beginning-of-text token at the very front and nowhere else.
    Raises PrunebenchError if `bos` is asked of a tokenizer that has no such token.
    """
    if not documents:
        return np.empty(0, dtype=np.int64)
    separator, *token_lists = encode(tokenizer, [SEPARATOR, *documents])
    stream = [bos_token(tokenizer)] if bos else []
    stream += token_lists[0]
    for tokens in token_lists[1:]:
        stream += separator
        stream += tokens
    return np.array(stream, dtype=np.int64)


def front_of(tokenizer: "PreTrainedTokenizerFast", bos: Bos) -> Front:
    """Where `bos` puts a beginning-of-text token with this tokenizer.

    For `auto` that is decided by a text that is encoded: settings such as add_bos_token need not be what happens.
    Raises PrunebenchError if the token is asked of a tokenizer that has none.
    """
    if bos == "auto":
        return "window" if adds_bos(tokenizer) else False
    if bos is not False:
        bos_token(tokenizer)
    return bos


def by_window(bos: bool | None) -> Bos:
    """What a user's choice for windows means: yes, no, or (None) as the tokenizer does it by itself."""
    return "auto" if bos is None else "window" if bos else False


def adds_bos(tokenizer: "PreTrainedTokenizerFast") -> bool:
    """Whether the first token that the tokenizer by itself puts in front of a text is the beginning-of-text token."""
    before = _before(tokenizer)
    return bool(before) and before[0] == _bos_token(tokenizer)


def bos_token(tokenizer: "PreTrainedTokenizerFast") -> int:
    """The beginning-of-text token; PrunebenchError if the tokenizer has none."""
    token = _bos_token(tokenizer)
    if token is None:
        raise PrunebenchError("the tokenizer has no beginning-of-text token: set 'bos: false' (--no-bos)")
    return token


def in_words(front: Front, asked: Bos, tokenizer: "PreTrainedTokenizerFast | None" = None) -> str:
    """Where a beginning-of-text token stands and, where `asked` is auto, what `tokenizer` puts in front of a text."""
    if front is True:
        return "a BOS token in front of the text"
    said = "a BOS token in front of each window" if front == "window" else "no BOS token"
    if asked != "auto" or tokenizer is None:
        return said
    before = _before(tokenizer)
    if len(before) > bool(front):  # More than that token, or another one.
        return f"{said}, where the tokenizer puts {' '.join(tokenizer.convert_ids_to_tokens(before))} before a text"
    return f"{said}, as the tokenizer puts {'one' if front else 'none'}"


def stream_windows(
    tokenizer: "PreTrainedTokenizerFast", documents: list[str], seqlen: int, *, front: Front
) -> tuple[NDArray[np.int64], int]:
    """All windows [n, seqlen] of the stream of `documents`, and the tokens that the stream has.

    With `front` "window" each window begins with the beginning-of-text token, and has `seqlen` - 1 tokens of text.
    Raises PrunebenchError if the tokenizer has no such token, or there is no room beside it.
    """
    stream = token_stream(tokenizer, documents, bos=front is True)
    if front != "window":
        return cut_windows(stream, seqlen), len(stream)
    return with_front(cut_windows(stream, room(seqlen, front)), tokenizer), len(stream)


def room(seqlen: int, front: Front) -> int:
    """The tokens of text in a window of `seqlen` tokens; PrunebenchError if a beginning-of-text token fills it."""
    if front == "window" and seqlen < 2:
        raise PrunebenchError("a window of one token has no room beside a BOS token: raise its length (seqlen)")
    return seqlen - (front == "window")


def with_front(windows: NDArray[np.int64], tokenizer: "PreTrainedTokenizerFast") -> NDArray[np.int64]:
    """`windows` [n, length] with the beginning-of-text token in front of each, [n, length + 1]."""
    return np.insert(windows, 0, bos_token(tokenizer), axis=1)


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
    front: Front = False,
) -> NDArray[np.int64]:
    """The first `count` (None: all) windows [n, seqlen] of the stream of `documents`, which errors call `what`.

    Raises PrunebenchError if the text is too short.
    """
    windows, tokens = stream_windows(tokenizer, documents, seqlen, front=front)
    needed = count or 1
    if len(windows) < needed:
        raise PrunebenchError(
            f"{what} has {tokens} tokens, too few for {needed} windows of {seqlen}: lower their length (seqlen)"
            + (f" or their number (windows) to {len(windows)}" if count and len(windows) else "")
        )
    return windows[:count]


def check_ids(tokens: NDArray[np.int64], vocabulary: int, what: object) -> None:
    """PrunebenchError, which calls the tokens `what`, unless all are among the `vocabulary` ids of a model."""
    if not tokens.size:
        return
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= vocabulary:
        raise PrunebenchError(
            f"{what} holds token ids from {low} to {high}, but the model knows 0 to {vocabulary - 1}: "
            "was it made with another tokenizer?"
        )


def of_tokenizer(model: object, text: object) -> str:
    """What `check_ids` calls the tokens that the tokenizer of `model` makes of `text`."""
    return f"what the tokenizer of {model} makes of {text}"


def load_ids(path: Path) -> NDArray[np.int64]:
    """The token ids int64 [samples, seqlen] in the .npy file `path`, mapped into memory.

    Raises PrunebenchError unless it is such an array; pickles are never read.
    """
    advice = "save token ids with numpy.save, as int64 [samples, seqlen]; text goes by .txt, .jsonl or .parquet"
    try:
        with path.open("rb") as file:
            magic = file.read(len(_NUMPY))
        # numpy would take it for a pickle, and advise to load it so.
        array = np.load(path, mmap_mode="r", allow_pickle=False) if magic == _NUMPY else None
    except OSError as error:
        raise PrunebenchError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception:  # Of a damaged header numpy raises whatever its parser does; object arrays are pickles.
        array = None
    if array is None:
        raise PrunebenchError(f"{path} is not a token file (.npy), or it is damaged or holds objects: {advice}")
    return check_array(array, path)


def check_array(array: Any, what: object) -> NDArray[np.int64]:
    """`array` if it is int64 [samples, seqlen] and not empty; else PrunebenchError, which calls it `what`."""
    if array.dtype != np.int64 or array.ndim != 2 or not array.size:
        raise PrunebenchError(
            f"{what} holds {array.dtype} {list(array.shape)}, not int64 [samples, seqlen]: convert token ids with "
            "array.astype('int64')"
        )
    return array  # type: ignore[no-any-return]


def _before(tokenizer: "PreTrainedTokenizerFast") -> list[int]:
    """The tokens that the tokenizer by itself puts in front of a text; none if the text is not found behind them."""
    ((text,), (whole,)) = (encode(tokenizer, ["a"], special=special) for special in (False, True))
    places = range(len(whole) - len(text) + 1) if text else ()
    return next((whole[:place] for place in places if whole[place : place + len(text)] == text), [])


def _bos_token(tokenizer: "PreTrainedTokenizerFast") -> int | None:
    """The token that is declared to begin a text, else the one that the tokenizer alone puts in front of it, if any."""
    if tokenizer.bos_token_id is not None:
        return int(tokenizer.bos_token_id)
    before = _before(tokenizer)
    return before[0] if len(before) == 1 else None
