"""What the numbers of suites are: which way is better, on which scale they are averaged, how they are printed."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

from prunebench import registry

MEAN = "mean"
"""The task name of a mean over tasks."""


@dataclass(frozen=True)
class Metric:
    """One metric. A suite declares those of its scores that tables and figures show."""

    name: str
    """As in scores and in results/cells.csv."""
    title: str
    """As tables print it."""
    lower: bool = False
    """Whether less is better."""
    log: bool = False
    """Whether means and spreads are those of the logarithm, as of perplexities."""
    percent: bool = False
    """Whether it is a fraction, which tables print in percent."""
    digits: int = 2
    """Digits after the point."""
    suffix: str = ""
    """Stands behind the names of tasks where a table has several metrics."""
    published: tuple[str, ...] = ()
    """The metrics of published/values.csv that may stand beside it."""

    def printed(self, value: float) -> float:
        """`value` in the unit of tables."""
        return 100 * value if self.percent else value

    def text(self, value: float) -> str:
        """`value` in a line of text: 54.3%, 12.34, or 1.23e+08 for a collapsed model."""
        if self.percent:
            return f"{value:.1%}"
        return f"{value:.{self.digits}f}" if abs(value) < 1e5 else f"{value:.2e}"


@cache
def declared() -> dict[str, Metric]:
    """All metrics that suites declare, by their names."""
    suites = (registry.load("suites", suite) for suite in registry.names("suites"))
    return {metric.name: metric for suite in suites for metric in suite.metrics}


def metric(name: str) -> Metric:
    """The metric called `name`. One that no suite declares is like its namesake (acc_norm like acc), or plain."""
    plain = Metric(name, name)
    return declared().get(name) or replace(declared().get(name.partition("_")[0], plain), name=name, title=name)


def headlines(tasks: Iterable[str]) -> list[str]:
    """Those of `tasks` that stand for a whole evaluation: the mean over tasks if there is one, else all of them."""
    tasks = list(tasks)
    return [MEAN] if MEAN in tasks else tasks
