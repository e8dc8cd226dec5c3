"""The function `prunebench.push`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prunebench.errors import PrunebenchError, disk_errors_told
from prunebench.standalone.arguments import check_arguments, in_python, is_path
from prunebench.standalone.push import prepare
from prunebench.storage.files import named_path


def push(
    directory: str | Path,
    repo: str,
    *,
    results: Sequence[str | Path] = (),
    private: bool = False,
    message: str | None = None,
) -> str:
    """Upload the pruned model in `directory` to the repository `repo` (OWNER/NAME) of the Hugging Face hub.

    The repository is made if it is not there, with `private` for you alone. The model card gets the scores of
    `results`, directories that `evaluate` wrote by its argument `out`; the hub shows them on the model's page. The
    commit gets `message`. A token that may write is needed (HF_TOKEN, or `hf auth login`). A call that was interrupted
    can be repeated; files that have arrived are not sent again.

    Returns the URL of the commit. Raises PrunebenchError if `directory` holds no model that prunebench has pruned, or
    if the hub refuses.
    """
    if not is_path(directory):
        raise PrunebenchError("'directory' is no path: give the name of a model directory")
    check_arguments({}, {"repo": repo, "private": private, "message": message})
    if isinstance(results, str) or not isinstance(results, Sequence) or not all(map(is_path, results)):
        raise PrunebenchError("'results': give a list of directories that `evaluate` wrote by its argument 'out'")
    place = named_path(directory, "'directory'")
    with in_python({"REPO": "'repo'", "`eval 'out'`": "`evaluate(..., out=...)`"}), disk_errors_told():
        return prepare(place, repo, [named_path(path, "'results'") for path in results], private=private).send(message)
