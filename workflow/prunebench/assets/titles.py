"""The titles of model directories in tables, model cards and messages."""

import re
from pathlib import Path

_SNAPSHOT = re.compile(r"models--(?P<repository>[^/]+)/snapshots/(?P<commit>[0-9a-f]{40})$")
"""The end of the path of a snapshot in huggingface_hub's cache; `--` replaces the `/` of owner/name."""
SHORT = 7
"""The number of digits of a commit that are shown."""


def title_of(directory: Path) -> str:
    """The name of a model directory; for a snapshot in the hub's cache, owner/name and the shortened commit."""
    return snapshot_title(directory) or directory.resolve().name


def snapshot_title(directory: Path) -> str | None:
    """The title of a snapshot in the hub's cache, as in `owner/name (0123abc)`; None for any other directory."""
    match = _SNAPSHOT.search(directory.resolve().as_posix())
    return match and f"{match['repository'].replace('--', '/', 1)} ({match['commit'][:SHORT]})"
