"""The contract of an evaluation suite."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunebench.plugin import Plugin

if TYPE_CHECKING:
    from prunebench.engine.model import StreamedModel


@dataclass(frozen=True)
class Score:
    """One number of one task. `details` go to the suite's JSON only (per-window losses, say)."""

    task: str
    metric: str
    value: float
    stderr: float | None
    n: int
    details: dict[str, Any] = field(default_factory=dict)


class Suite(Plugin):
    """Base of all suites. The whole protocol is in `params`, so that two numbers compare iff their specs do."""

    @property
    def corpora(self) -> tuple[str, ...]:
        """Catalog names of the corpora it reads; their test splits arrive in `run`."""
        return ()

    def run(self, model: StreamedModel, directory: Path, corpora: dict[str, Path], batch_size: int) -> list[Score]:
        """Evaluate `model`; `directory` holds its tokenizer, `corpora` maps names to asset.json paths."""
        raise TypeError(f"suite {self.name!r} does not define run")

    def headline(self, scores: list[Score]) -> str:
        """One short line for the terminal when the job is done."""
        return ", ".join(f"{score.task} {score.metric} {score.value:.4g}" for score in scores)
