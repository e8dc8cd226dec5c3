"""Published values, as values.csv has them: one line per number, in the words of the benchmark.

values.csv was put together from papers and from the pages of their repositories. A value is primary if it was read
there, secondary if somebody else quotes it. `3:4` of SparseLLM, which drops 3 of 4, is 1of4 here; accuracies are
fractions. An empty field says that the source does not state it (or that it has no meaning for this number).
"""

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, TypeAdapter, field_validator

from prunebench.config.entries import Calibration, Entry, Slug, Sparsity
from prunebench.patterns import parse_pattern

VALUES = Path(__file__).with_name("values.csv")

Words = Annotated[tuple[str, ...], BeforeValidator(lambda text: tuple((text or "").split()))]
Metric = Literal[
    "perplexity",
    "word_perplexity",
    "acc",
    "acc_unstated",
    "acc_gain",
    "perplexity_gain",
    "perplexity_cut",
    "seconds",
    "relative_error",
    "generations",
]


class Published(Entry):
    """One published number: where it stands, what of, how it was measured, and what is wrong with it."""

    source: str = Field(min_length=1)
    table: str = Field(min_length=1)
    grade: Literal["primary", "secondary"]
    url: str | None = Field(pattern=r"^https://\S+$")
    model: Slug
    method: Slug
    allocator: Slug
    layers: Literal["all", "first_half"]
    pattern: str
    sparsity: Sparsity | None
    task: Slug
    """corpus or task, or `mean` over the tasks in `tasks`"""
    metric: Metric
    """acc_unstated: an accuracy of which it is not stated whether it is acc or acc_norm"""
    value: PositiveFloat
    seqlen: PositiveInt | None
    """tokens of a window of the evaluation"""
    calibration: Calibration | None
    tasks: Words
    doubt: str | None
    """what is not clear about it"""
    implausible: str | None
    """why it is probably a mistake"""
    note: str | None

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, text: str) -> str:
        return str(parse_pattern(text))

    @property
    def origin(self) -> str:
        """Where it stands, for a table: Wanda, README; with a word if somebody else quotes it."""
        return f"{self.source}, {self.table}" + (" (secondary)" if self.grade == "secondary" else "")


Key = tuple[str, str, str, str, str]
"""Model, method, allocator, pattern and sparsity."""


@cache
def load_values(path: Path = VALUES) -> tuple[Published, ...]:
    """All published values, in the order of the file; pydantic's ValidationError if a line is not one."""
    with path.open(encoding="utf-8", newline="") as file:
        lines: list[Mapping[str, Any]] = [
            {key: value or None for key, value in line.items()} for line in csv.DictReader(file)
        ]
    return tuple(TypeAdapter(list[Published]).validate_python(lines))


@cache
def by_point() -> dict[Key, list[Published]]:
    """The published values of each model, method, allocator, pattern and sparsity."""
    found: dict[Key, list[Published]] = {}
    for value in load_values():
        if value.sparsity is not None:
            key = (value.model, value.method, value.allocator, value.pattern, value.sparsity)
            found.setdefault(key, []).append(value)
    return found
