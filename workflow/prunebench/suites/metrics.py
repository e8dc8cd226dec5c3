"""The metrics of suites: which way is better, on which scale they are averaged, and how they are printed."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

from prunebench import registry
from prunebench.runtime.digits import rounded

MEAN = "mean"
"""The task name of a mean over tasks."""


@dataclass(frozen=True)
class Metric:
    """One metric. A suite declares the metrics of its scores that tables and figures show."""

    name: str
    """The name in scores and in results/cells.csv."""
    title: str
    """The title in tables."""
    lower: bool = False
    """Whether less is better."""
    log: bool = False
    """Whether means and deviations are taken of the logarithm, as for perplexities."""
    percent: bool = False
    """Whether the value is a fraction, which tables print in percent."""
    digits: int = 2
    """The number of digits after the point."""
    suffix: str = ""
    """The text behind the names of tasks where a table has several metrics."""
    clocked: bool = False
    """Whether values are times or memory of a machine, which a second run does not repeat. Such values are no part of
    a result: they are kept beside it, in its measured.json."""
    published: tuple[str, ...] = ()
    """The metrics of published/values.csv that may stand beside this one."""

    def printed(self, value: float) -> float:
        """Convert `value` to the unit of tables."""
        return 100 * value if self.percent else value

    def text(self, value: float) -> str:
        """Print `value` in a line of text: 54.3%, 12.34, or 1.6e8 for a collapsed model."""
        return f"{value:.1%}" if self.percent else self.number(value)

    def number(self, value: float, beside: float = 0.0) -> str:
        """Print `value`, which is in the unit of tables, or its spread, which stands `beside` it."""
        return rounded(value, self.digits, collapses=self.log, beside=beside)


@cache
def declared() -> dict[str, Metric]:
    """Collect all metrics that suites declare, by their names."""
    suites = (registry.load("suites", suite) for suite in registry.names("suites"))
    return {metric.name: metric for suite in suites for metric in suite.metrics}


def metric(name: str) -> Metric:
    """Find the metric called `name`. One that no suite declares is like its namesake (acc_norm like acc), or plain."""
    plain = Metric(name, name)
    return declared().get(name) or replace(declared().get(name.partition("_")[0], plain), name=name, title=name)


def headlines(tasks: Iterable[str]) -> list[str]:
    """Select the `tasks` that represent a whole evaluation: the mean over tasks if there is one, else all of them."""
    tasks = list(tasks)
    return [MEAN] if MEAN in tasks else tasks
