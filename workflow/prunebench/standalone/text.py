"""The text that a perplexity is measured on: token ids, a corpus of the catalog, or a user's text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prunebench.assets.texts import own_documents
from prunebench.assets.tokens import load_ids
from prunebench.errors import PrunebenchError
from prunebench.standalone.request import no_file, refuse_unknown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from prunebench.standalone.measure import Loaded

SEQLEN = 512
"""The usual number of tokens of a window."""
_IN_MEMORY = "there are {} windows of token ids"


class Source:
    """A text, and how it is cut into windows of a model's tokens."""

    def __init__(
        self,
        tokens: Path | None = None,
        corpus: str | None = None,
        text: Path | None = None,
        column: str | None = None,
        seqlen: int | None = None,
        windows: int | None = None,
        bos: bool | None = None,
        name: str | None = None,
    ) -> None:
        """Take one of `tokens`, `corpus` and `text`; `name` is the name of the text in results.

        Raises PrunebenchError for options that do not fit together, and for a file that cannot be read.
        """
        given = [option for option, value in (("--tokens", tokens), ("--corpus", corpus), ("--text", text)) if value]
        if len(given) != 1:
            also = f", not {' and '.join(given)}" if given else ""
            raise PrunebenchError(f"name one of --tokens, --corpus and --text{also}")
        if tokens and seqlen:
            raise PrunebenchError("--seqlen: the windows of --tokens have their length already; leave it out")
        if tokens and bos is not None:
            raise PrunebenchError("--bos: the windows of token ids are taken as they are; leave it out")
        if column is not None and text is None:
            raise PrunebenchError("--column belongs to a text of one's own, with --text: leave it out")
        if text and not text.exists():
            raise no_file("--text", text)
        self.name = name or str(tokens or corpus or text)
        self.bos: bool | None = None
        """Whether the windows of the last model begin with a BOS token; None for token ids."""
        self.shape: tuple[int, int] | None = None
        """The windows of the last model: their number, and the tokens of each."""
        self._ids = load_ids(tokens) if tokens else None
        if self._ids is not None and len(self._ids) < (windows or 1):
            there = f"{tokens} has {len(self._ids)} windows" if name is None else _IN_MEMORY.format(len(self._ids))
            raise PrunebenchError(f"--windows: {there}, not {windows}")
        self._documents = own_documents(text, column) if text else []
        if corpus:
            refuse_unknown("corpora", corpus)
        self._corpus, self._seqlen, self._windows, self._bos = corpus, seqlen or SEQLEN, windows, bos

    def windows(self, loaded: Loaded) -> NDArray[np.int64]:
        """Cut the text into windows of tokens of the model `loaded`, int64 [n, seqlen]."""
        windows = self._cut(loaded)
        self.shape = (windows.shape[0], windows.shape[1])
        return windows

    @property
    def title(self) -> str:
        """The text and the windows of the last model, in words."""
        return f"{self.shape[0]} windows of {self.shape[1]} tokens of {self.name}" if self.shape else self.name

    def _cut(self, loaded: Loaded) -> NDArray[np.int64]:
        import numpy as np

        from prunebench.standalone.measure import corpus_documents, text_windows

        if self._ids is not None:
            return np.array(self._ids[: self._windows])
        documents, limit = corpus_documents(self._corpus) if self._corpus else (self._documents, None)
        windows, self.bos = text_windows(loaded, documents, self._seqlen, self._windows, self.name, self._bos)
        return windows[: None if self._windows else limit]
