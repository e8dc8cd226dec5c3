"""The amount of text that an evaluation sends through the model, estimated for `prunebench plan`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

TEXTS = {"wikitext2": 340_000, "ptb": 110_000}
"""The approximate number of tokens of a test split. LLaMA's tokenizer cuts WikiText-2's into 166 windows of 2048."""
CORPUS = 1 << 19
"""The assumed number of tokens of the test split of any other corpus."""
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
    "easy_vqa": (9673, 640),
    "vqav2": (214354, 640),
    "scienceqa": (2017, 750),
    "textvqa": (5000, 640),
    "textvqa_ocr": (5000, 720),
}
"""The number of rows of a task, and of tokens of a row: the prompt with its examples, and each choice of several
tokens. They were counted on the rows of the catalog with SmolLM2's tokenizer, unless the task is in GUESSED. An image
takes 576 tokens, as in LLaVA-1.5."""
SUBJECTS = {"mmlu": 57}
"""The number of subjects of a task that has any: a limit counts the rows of each subject."""
GUESSED = ("gsm8k", "vqav2", "scienceqa", "textvqa", "textvqa_ocr")
"""The tasks whose rows no package ships."""
FEW_ROWS = 8
"""How many times as long as the rows of the whole task a few of its rows may be. An image takes up to 2880 tokens."""
UNKNOWN = (5000, 200)
"""The assumed number of rows, and of tokens of a row, of any other task."""
GENERATED = {"gsm8k": 256, **dict.fromkeys(("easy_vqa", "vqav2", "scienceqa", "textvqa", "textvqa_ocr"), 8)}
"""The number of tokens that a task has the model generate for a row: the largest for GSM8K, a few words for an answer
about an image."""


@dataclass(frozen=True)
class Workload:
    """The work that one evaluation asks of the model."""

    tokens: int
    """The number of tokens that go through the model."""
    seqlen: int
    """The number of tokens of a window, or of the longest row."""
    generated: int = 0
    """The number of tokens that the model generates, one by one."""
    models: int = 1
    """The number of models that are in memory at once, if they are not streamed."""
    streamed: bool = False
    """Whether one block at a time is in memory, as for windows of text, and not the whole model."""
    excess: int = 2
    """How many times `tokens` and `generated` there may be at most: tokenizers differ, and sizes are estimates."""
    guesses: Mapping[str, str] = field(default_factory=dict)
    """The assumptions about sizes that are not known, by asset (corpora/text)."""


def of_corpora(corpora: Sequence[str], seqlen: int, windows: int | None, at_most: Mapping[str, int | None]) -> Workload:
    """Estimate windows of `seqlen` tokens of test text: `windows` of each corpus if stated, `at_most` as a limit."""
    tokens, excess = 0, 1
    guesses: dict[str, str] = {}
    for corpus in corpora:
        if counts := [count for count in (windows, at_most.get(corpus)) if count]:
            tokens += min(counts) * seqlen
        else:
            tokens, excess = tokens + TEXTS.get(corpus, CORPUS), Workload.excess
            guesses |= {f"corpora/{corpus}": f"{CORPUS:,} tokens"} if corpus not in TEXTS else {}
    return Workload(tokens, seqlen, streamed=True, excess=excess, guesses=guesses)


def of_tasks(tasks: Sequence[str], limit: int | None = None) -> Workload:
    """Estimate the rows of `tasks`, at most `limit` of each subject, on a model that is in memory as a whole."""
    sizes = {task: TASKS.get(task, UNKNOWN) for task in tasks}
    rows = {task: min(count, limit * SUBJECTS.get(task, 1)) if limit else count for task, (count, _) in sizes.items()}
    return Workload(
        tokens=sum(rows[task] * length for task, (_, length) in sizes.items()),
        seqlen=max((length for _, length in sizes.values()), default=UNKNOWN[1]),
        generated=sum(rows[task] * GENERATED.get(task, 0) for task in tasks),
        excess=FEW_ROWS if limit else Workload.excess,
        guesses={
            f"tasks/{task}": f"{count:,} rows of {length:,} tokens"
            for task, (count, length) in sizes.items()
            if task not in TASKS or task in GUESSED
        },
    )
