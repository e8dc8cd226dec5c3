"""The passages, stories and papers in requests of OLMo's evaluation, without questions and answers."""

from collections.abc import Callable, Mapping
from pathlib import Path

from prunebench.assets.tasks import Row, read_rows
from prunebench.errors import PrunebenchError


def read_passages(path: Path) -> list[str]:
    """The distinct texts in the requests (JSON lines, plain or gzipped) at `path`, in file order.

    Raises PrunebenchError if the file is damaged or its requests belong to an unknown task.
    """
    try:
        texts = (PASSAGES[request["task_name"]](request).strip() for request in read_rows(path))
        return list(dict.fromkeys(filter(None, texts)))
    except (KeyError, TypeError, AttributeError) as error:
        raise PrunebenchError(
            f"{path} does not hold requests of one of the tasks {', '.join(PASSAGES)}: {type(error).__name__}: {error}"
        ) from error


def _squad(request: Row) -> str:
    text: str = request["doc"]["query"]
    return text.partition("\nBackground: ")[2].rpartition("\nQuestion: ")[0]


def _qasper(request: Row) -> str:
    return "\n".join(paragraph for section in request["doc"]["full_text"]["paragraphs"] for paragraph in section)


def _hellaswag(request: Row) -> str:
    # There is one request for each ending, and one of the endings is right.
    right = request["idx"] == request["label"]
    return f"{request['doc']['query']}{request['request']['continuation']}" if right else ""


PASSAGES: Mapping[str, Callable[[Row], str]] = {
    "boolq": lambda request: str(request["doc"]["query"]).rpartition("\nQuestion: ")[0],
    "coqa": lambda request: str(request["doc"]["story"]),
    "drop": lambda request: str(request["doc"]["passage"]),
    "hellaswag": _hellaswag,
    "qasper_yesno": _qasper,
    "squad": _squad,
}
"""A function for each task from a request to its text."""
