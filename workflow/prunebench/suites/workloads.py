"""How much text an evaluation sends through the model, as far as that is known before: for `prunebench plan`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

TEXTS = {"wikitext2": 340_000, "ptb": 110_000}
"""Tokens of the test split of a corpus, about: LLaMA's tokenizer cuts WikiText-2's into 166 windows of 2048."""
CORPUS = 1 << 19
"""Tokens that the test split of any other corpus is taken to have."""
TASKS = {
    "boolq": (3270, 305),
    "rte": (277, 160),
    "hellaswag": (10042, 317),
    "winogrande": (1267, 45),
    "arc_easy": (2376, 127),
    "arc_challenge": (1172, 148),
    "openbookqa": (500, 60),
    "piqa": (1838, 73),
    "lambada_openai": (5153, 78),
    "mmlu": (14042, 723),
    "gsm8k": (1319, 1100),
}
"""Rows of a task, and tokens of a row: the prompt with its examples and each choice that is not a single token. Counted
on the rows of the catalog with SmolLM2's tokenizer, unless GUESSED."""
SUBJECTS = {"mmlu": 57}
"""How many subjects a task has, if it has any: a limit is one of rows of each."""
GUESSED = ("gsm8k",)
"""Tasks whose rows no package ships."""
UNKNOWN = (5000, 200)
"""Rows and tokens of a row that any other task is taken to have."""
GENERATED = {"gsm8k": 256}
"""Tokens that a task has generated for a row, at most."""


@dataclass(frozen=True)
class Workload:
    """What one evaluation asks of the model."""

    tokens: int
    """Tokens that go through the model."""
    seqlen: int
    """Tokens of a window, or of the longest row."""
    generated: int = 0
    """Tokens that the model generates, one by one."""
    streamed: bool = False
    """Whether one block at a time is in memory, as for windows of text, and not the whole model."""
    guesses: Mapping[str, str] = field(default_factory=dict)
    """By asset (corpora/text), what was taken for a size that is not known."""


def of_corpora(corpora: Sequence[str], seqlen: int, windows: int | None, at_most: Mapping[str, int | None]) -> Workload:
    """Windows of `seqlen` tokens of test text: `windows` of each corpus if stated, and not more than `at_most`."""
    tokens = 0
    guesses: dict[str, str] = {}
    for corpus in corpora:
        if counts := [count for count in (windows, at_most.get(corpus)) if count]:
            tokens += min(counts) * seqlen
        else:
            tokens += TEXTS.get(corpus, CORPUS)
            guesses |= {f"corpora/{corpus}": f"{CORPUS:,} tokens"} if corpus not in TEXTS else {}
    return Workload(tokens, seqlen, streamed=True, guesses=guesses)


def of_tasks(tasks: Sequence[str], limit: int | None = None) -> Workload:
    """The rows of `tasks`, at most `limit` of each subject, on a model that is in memory as a whole."""
    sizes = {task: TASKS.get(task, UNKNOWN) for task in tasks}
    rows = {task: min(count, limit * SUBJECTS.get(task, 1)) if limit else count for task, (count, _) in sizes.items()}
    return Workload(
        tokens=sum(rows[task] * length for task, (_, length) in sizes.items()),
        seqlen=max((length for _, length in sizes.values()), default=UNKNOWN[1]),
        generated=sum(rows[task] * GENERATED.get(task, 0) for task in tasks),
        guesses={
            f"tasks/{task}": f"{count:,} rows of {length:,} tokens"
            for task, (count, length) in sizes.items()
            if task not in TASKS or task in GUESSED
        },
    )
