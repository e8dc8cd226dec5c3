"""The greatest number of tokens that a split of a text can have, which is known before any job."""

from collections.abc import Sequence
from contextlib import suppress
from typing import cast

from prunebench.assets.corpora import split_by_hash, split_by_position
from prunebench.assets.sources import local_files, local_path
from prunebench.assets.texts import COLUMN, own_documents, read_documents
from prunebench.config.entries import CorpusEntry
from prunebench.config.sources import PathSource
from prunebench.config.values import Bos, DocumentKind
from prunebench.errors import PrunebenchError

READ = 4 << 20
"""The greatest number of bytes of a text that is read and cut into splits while a study is planned."""
BESIDE = 3
"""The greatest number of tokens of a document beside one for each byte: a space that the tokenizer puts in front, and
two for the blank line between documents."""


def most_tokens(entry: CorpusEntry, split: str) -> int | None:
    """A number of tokens that `split` of a corpus does not reach; None if that is not known yet.

    A token of a text has at least one byte. A larger text than READ, or one that cannot be cut into splits, is counted
    as a whole.
    """
    if split == "calibration" and entry.calibration_tokens is not None:
        return entry.calibration_tokens
    if not isinstance(entry.source, PathSource) or entry.documents in (None, "requests"):
        return None
    files = local_files(entry.source)
    if not files or any(file.suffix in (".gz", ".parquet") for file in files):
        return None  # the job that fetches the text explains why there is none
    size = sum(file.stat().st_size for file in files)
    if size <= READ:
        # The job that fetches a text explains why it cannot be read, or cut.
        with suppress(PrunebenchError):
            return sum(len(text.encode()) + BESIDE for text in _documents(entry, entry.source, split))
    return BESIDE * size  # a document may have one byte, and one more that ends it


def tokens_of_text(windows: int, seqlen: int, bos: Bos) -> int:
    """The least number of tokens of text that fill `windows`, some of whose tokens may be beginning-of-text tokens."""
    return windows * (seqlen - (bos in ("window", "auto"))) - (bos is True)


def _documents(entry: CorpusEntry, source: PathSource, split: str) -> Sequence[str]:
    """The documents of `split` of a local text, cut as the stage `fetch_corpus` cuts them."""
    if entry.documents == "auto":
        documents = own_documents(local_path(source), entry.column)
    else:
        kind, column = cast(DocumentKind, entry.documents), entry.column or COLUMN
        documents = [document for file in local_files(source) for document in read_documents(file, kind, column)]
    if entry.use != "evaluation":
        return documents
    splits = split_by_hash(documents)
    cut = splits if all(splits.values()) else split_by_position(documents)
    return {str(name): texts for name, texts in cut.items()}[split]
