"""The published values of values.csv, one line per number, in the words of the benchmark.

values.csv was put together from papers and from the pages of their repositories. A value is primary if it was read
there, secondary if somebody else quotes it. SparseLLM's `3:4`, which drops 3 of 4, is called 1of4; accuracies are
fractions. An empty field means that the source does not state it, or that it has no meaning for the number.
"""

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, TypeAdapter, field_validator

from prunebench.config.values import Calibration, Entry, Slug, Sparsity
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
    """One published number: its source, what it measures and how, and what is wrong with it."""

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
    """number of tokens of a window of the evaluation"""
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
        """The source as a table prints it: Wanda, README. A secondary value is marked as such."""
        return f"{self.source}, {self.table}" + (" (secondary)" if self.grade == "secondary" else "")


Key = tuple[str, str, str, str, str]
"""Model, method, allocator, pattern and sparsity."""


@cache
def load_values(path: Path = VALUES) -> tuple[Published, ...]:
    """Read all published values, in the order of the file. Raises pydantic's ValidationError if a line is no value."""
    with path.open(encoding="utf-8", newline="") as file:
        lines: list[Mapping[str, Any]] = [
            {key: value or None for key, value in line.items()} for line in csv.DictReader(file)
        ]
    return tuple(TypeAdapter(list[Published]).validate_python(lines))


@cache
def by_point() -> dict[Key, list[Published]]:
    """Group the published values by model, method, allocator, pattern and sparsity."""
    groups: dict[Key, list[Published]] = {}
    for value in load_values():
        if value.sparsity is not None:
            key = (value.model, value.method, value.allocator, value.pattern, value.sparsity)
            groups.setdefault(key, []).append(value)
    return groups
