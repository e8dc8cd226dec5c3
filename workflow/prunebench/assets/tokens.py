"""From documents to one stream of token ids to windows, for calibration and perplexity alike; files of token ids."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from prunebench.assets.corpora import SEPARATOR
from prunebench.config.values import Bos
from prunebench.errors import PrunebenchError, summary
from prunebench.identity.canonical import canonical
from prunebench.identity.canonical import spec_hash as hash_of
from prunebench.lazy import torch
from prunebench.storage.files import is_regular, sha256_file
from prunebench.storage.sealed import Damaged, read_record

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Front = bool | Literal["window"]
"""The place of the beginning-of-text token: nowhere (False), in front of the stream (True), or of each window."""

_NUMPY = b"\x93NUMPY"
"""The first bytes of an .npy file."""
AT_ONCE = 64
"""The number of documents that are tokenised at once, in threads of the tokenizer."""
EMBEDDED = 3
"""The number of axes of a calibration with images; token ids have two."""


def load_tokenizer(directory: Path) -> "PreTrainedTokenizerFast":
    """The tokenizer of a `from_pretrained` directory, from the files of that directory alone.

    Raises PrunebenchError if there is none that transformers can run as a fast (Rust) tokenizer.
    """
    # Suites import this module while the Snakefile parses, which must not import transformers.
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    # For a damaged file the Rust library raises plain Exceptions, and transformers any exception of its parsers.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise PrunebenchError(f"cannot load a tokenizer from {directory}: {reason}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise PrunebenchError(f"{directory} has no fast tokenizer: add its tokenizer.json")
    return tokenizer


@contextmanager
def encoding(tokenizer: "PreTrainedTokenizerFast") -> Iterator[None]:
    """Raise PrunebenchError if the tokenizer, although it could be loaded, cannot encode a text."""
    try:
        yield
    # The Rust library raises plain Exceptions.
    except Exception as error:
        raise PrunebenchError(
            f"the tokenizer of {tokenizer.name_or_path or 'the model'} cannot encode text ({summary(error)}): its "
            "tokenizer.json and tokenizer_config.json do not fit together"
        ) from error


def encode(tokenizer: "PreTrainedTokenizerFast", texts: list[str], *, special: bool = False) -> list[list[int]]:
    """The token ids of each text; with `special`, also those that the tokenizer adds by itself.

    Raises PrunebenchError if the tokenizer cannot encode them.
    """
    with encoding(tokenizer):
        # verbose=False: a text may be longer than the model's context, as windows are cut from it.
        options = {"add_special_tokens": special, "return_attention_mask": False, "verbose": False}
        tokens: list[list[int]] = tokenizer(texts, **options)["input_ids"]
    return tokens


def token_stream(
    tokenizer: "PreTrainedTokenizerFast", documents: list[str], *, bos: bool, enough: int | None = None
) -> NDArray[np.int64]:
    """The tokens of all documents, int64 [n]: each is tokenised alone, with the tokens of a blank line between two.

    With `bos` one beginning-of-text token is in front, and nowhere else. With `enough` the stream may end after a
    document at which it has so many tokens. Raises PrunebenchError if the tokenizer has no such token.
    """
    if not documents:
        return np.empty(0, dtype=np.int64)
    (separator,) = encode(tokenizer, [SEPARATOR])
    stream = [bos_token(tokenizer)] if bos else []
    for start in range(0, len(documents), AT_ONCE):
        for number, tokens in enumerate(encode(tokenizer, documents[start : start + AT_ONCE]), start):
            stream += [*separator, *tokens] if number else tokens
        if enough is not None and len(stream) >= enough:
            break
    return np.array(stream, dtype=np.int64)


def front_of(tokenizer: "PreTrainedTokenizerFast", bos: Bos) -> Front:
    """The place of the beginning-of-text token that `bos` means with this tokenizer.

    For `auto` a text is encoded, as settings such as add_bos_token may have no effect.
    Raises PrunebenchError if `bos` needs the token and the tokenizer has none.
    """
    if bos == "auto":
        return "window" if adds_bos(tokenizer) else False
    if bos is not False:
        bos_token(tokenizer)
    return bos


def by_window(bos: bool | None) -> Bos:
    """The `bos` of a user's choice for windows: yes, no, or (None) as the tokenizer does by itself."""
    return "auto" if bos is None else "window" if bos else False


def adds_bos(tokenizer: "PreTrainedTokenizerFast") -> bool:
    """Whether the tokenizer by itself puts the beginning-of-text token first in front of a text."""
    before = _before(tokenizer)
    return bool(before) and before[0] == _bos_token(tokenizer)


def bos_token(tokenizer: "PreTrainedTokenizerFast") -> int:
    """The beginning-of-text token. Raises PrunebenchError if the tokenizer has none."""
    token = _bos_token(tokenizer)
    if token is None:
        raise PrunebenchError("the tokenizer has no beginning-of-text token: set 'bos: false' (--no-bos)")
    return token


def in_words(front: Front, asked: Bos, tokenizer: "PreTrainedTokenizerFast | None" = None) -> str:
    """The place of the beginning-of-text token in words; for `auto`, also what `tokenizer` puts before a text."""
    if front is True:
        return "a BOS token in front of the text"
    place = "a BOS token in front of each window" if front == "window" else "no BOS token"
    if asked != "auto" or tokenizer is None:
        return place
    before = _before(tokenizer)
    if len(before) > bool(front):  # The tokenizer puts more tokens, or another one.
        return f"{place}, where the tokenizer puts {' '.join(tokenizer.convert_ids_to_tokens(before))} before a text"
    return f"{place}, as the tokenizer puts {'one' if front else 'none'}"


def stream_windows(
    tokenizer: "PreTrainedTokenizerFast",
    documents: list[str],
    seqlen: int,
    *,
    front: Front,
    enough: int | None = None,
) -> tuple[NDArray[np.int64], int]:
    """All windows [n, seqlen] of the stream of `documents`, and the number of tokens of the stream.

    With `front` "window" each window begins with the beginning-of-text token, and has `seqlen` - 1 tokens of text.
    With `enough` the stream may end at the document in which so many windows are full. Raises PrunebenchError if the
    tokenizer has no such token, or if `seqlen` leaves no room for text.
    """
    length = room(seqlen, front)
    stream = token_stream(tokenizer, documents, bos=front is True, enough=enough and enough * length)
    windows = cut_windows(stream, length)
    return with_front(windows, tokenizer) if front == "window" else windows, len(stream)


def room(seqlen: int, front: Front) -> int:
    """The number of tokens of text in a window of `seqlen` tokens. PrunebenchError if it is 0."""
    if front == "window" and seqlen < 2:
        raise PrunebenchError("a window of one token has no room beside a BOS token: raise its length (seqlen)")
    return seqlen - (front == "window")


def with_front(windows: NDArray[np.int64], tokenizer: "PreTrainedTokenizerFast") -> NDArray[np.int64]:
    """`windows` [n, length] with the beginning-of-text token in front of each, [n, length + 1]."""
    return np.insert(windows, 0, bos_token(tokenizer), axis=1)


def cut_windows(stream: NDArray[np.int64], seqlen: int) -> NDArray[np.int64]:
    """The windows of `stream`, [n, seqlen], without overlap; a tail that fills no window is dropped."""
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
    """The first `count` (None: all) windows [n, seqlen] of the stream of `documents`; errors call the text `what`.

    Raises PrunebenchError if the text is too short.
    """
    windows, tokens = stream_windows(tokenizer, documents, seqlen, front=front, enough=count)
    needed = count or 1
    if len(windows) < needed:
        raise PrunebenchError(
            f"{what} has {tokens} tokens, too few for {needed} windows of {seqlen}: lower their length (seqlen)"
            + (f" or their number (windows) to {len(windows)}" if count and len(windows) else "")
        )
    return windows[:count]


def check_ids(tokens: NDArray[np.int64], vocabulary: int, what: object) -> None:
    """Raise PrunebenchError, which calls the tokens `what`, unless all are in [0, `vocabulary`)."""
    if not tokens.size:
        return
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= vocabulary:
        raise PrunebenchError(
            f"{what} holds token ids from {low} to {high}, but the model knows 0 to {vocabulary - 1}: "
            "was it made with another tokenizer?"
        )


def of_tokenizer(model: object, text: object) -> str:
    """The name of the tokens of `text` by the tokenizer of `model`, for `check_ids`."""
    return f"what the tokenizer of {model} makes of {text}"


def read_tokens(path: Path, spec_hash: str | None = None) -> "torch.Tensor":
    """The tokens int64 [samples, seqlen] that the stage calibrate has written to the .npy file `path`.

    Where the calibration has images, these are float32 [samples, seqlen, hidden + 1]: see `engine.activations.embed`.
    Raises Damaged if the file does not fit the record beside it, or if that record is absent, damaged, or not made from
    the spec with the hash `spec_hash`. The spec of a user's tokens is their digest, and they need no record.
    """
    try:
        sha256 = sha256_file(path)
    except OSError as error:
        raise Damaged(path, f"cannot be read ({error.strerror})") from None
    if spec_hash not in (None, hash_of(canonical({"sha256": sha256}))):
        record = path.with_suffix(".json")
        try:
            fits = read_record(record, spec_hash).get("sha256") == sha256
        except (Damaged, FileNotFoundError):  # Snakemake makes both files again if this one is deleted
            fits = False
        if not fits:
            raise Damaged(path, f"does not fit {record.name} beside it")
    array = _load(path)
    embedded = spec_hash is not None and array.dtype == np.float32 and array.ndim == EMBEDDED
    return torch.from_numpy(np.array(array if embedded else check_array(array, path)))


def load_ids(path: Path) -> NDArray[np.int64]:
    """The token ids int64 [samples, seqlen] in a user's .npy file `path`, mapped into memory.

    Raises PrunebenchError unless it is such an array; pickles are never read.
    """
    return check_array(_load(path), path)


def _load(path: Path) -> NDArray[Any]:
    """The array in the .npy file `path`, mapped into memory. Raises PrunebenchError if there is none."""
    advice = "save token ids with numpy.save, as int64 [samples, seqlen]; text goes by .txt, .jsonl or .parquet"
    try:
        if not is_regular(path):
            raise PrunebenchError(f"{path} is no regular file: {advice}")
        with path.open("rb") as file:
            magic = file.read(len(_NUMPY))
        # For any other file numpy advises to load it as a pickle.
        array = np.load(path, mmap_mode="r", allow_pickle=False) if magic == _NUMPY else None
    except OSError as error:
        raise PrunebenchError(f"{path} cannot be read: {error.strerror or error}") from None
    except PrunebenchError:
        raise
    except Exception:  # A damaged header raises any exception of numpy's parser; object arrays are pickles.
        array = None
    if array is None:
        raise PrunebenchError(f"{path} is not a token file (.npy), or it is damaged or holds objects: {advice}")
    return array  # type: ignore[no-any-return]


def check_array(array: Any, what: object) -> NDArray[np.int64]:
    """Return `array` if it is int64 [samples, seqlen] and not empty, else raise PrunebenchError about `what`."""
    if array.dtype != np.int64 or array.ndim != 2 or not array.size:
        if array.dtype != np.int64:
            remedy = "convert token ids with array.astype('int64')"
        elif array.ndim == 1 and array.size:
            remedy = "make a row of each window with array.reshape(-1, seqlen)"
        else:
            remedy = "give one row of token ids for each window"
        raise PrunebenchError(f"{what} holds {array.dtype} {list(array.shape)}, not int64 [samples, seqlen]: {remedy}")
    return array  # type: ignore[no-any-return]


def _before(tokenizer: "PreTrainedTokenizerFast") -> list[int]:
    """The tokens that the tokenizer by itself puts in front of a text; none if the text's tokens change."""
    ((text,), (whole,)) = (encode(tokenizer, ["a"], special=special) for special in (False, True))
    places = range(len(whole) - len(text) + 1) if text else ()
    return next((whole[:place] for place in places if whole[place : place + len(text)] == text), [])


def _bos_token(tokenizer: "PreTrainedTokenizerFast") -> int | None:
    """The declared beginning-of-text token, else the only token that the tokenizer puts in front of a text, or None."""
    if tokenizer.bos_token_id is not None:
        return int(tokenizer.bos_token_id)
    before = _before(tokenizer)
    return before[0] if len(before) == 1 else None
