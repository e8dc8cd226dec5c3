"""The findings of a study: sentences that follow from its numbers, for readers who read nothing else of the report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from prunebench.figures.look import Look
from prunebench.runtime.digits import rounded
from prunebench.suites.metrics import MEAN
from prunebench.suites.speed import DENSE, PACKED
from prunebench.tables import layout
from prunebench.tables.efficiency import reader, timed_cells
from prunebench.tables.lines import Line, lines_of, over_dense, wins
from prunebench.tables.make import with_losses

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.tables.base import Evidence

SENTENCES = 6
"""The most comparisons that get a sentence each. More are counted in one sentence."""
COLLAPSED = 100
"""A model whose perplexity is so many times that of the dense model says nothing sensible any more."""


class Comparison(NamedTuple):
    """The lines of one model at one sparsity, from the best to the worst, each with a number on every test."""

    where: str
    among: str
    """Which lines are compared, where some are left out; a text that follows `where`."""
    tests: list[layout.Test]
    ranked: list[Line]
    excess: list[float | None]
    """How far each line is above the dense model, in the unit of `Mean.value`, where it is known."""
    sure: bool
    """Whether the best stands out from all others on every test."""

    @property
    def beginning(self) -> str:
        """The words with which a sentence on the comparison begins."""
        return self.where + self.among


def findings(evidence: Evidence) -> list[str]:
    """Say which method is best at each sparsity, how far from the dense model, and whether chance may explain it."""
    texts, tasks = _rows(evidence, "perplexity"), _rows(evidence, "acc")
    look = replace(Look.of(evidence), patterns=())
    return [
        *_of_perplexity(list(_comparisons(texts, evidence)), look),
        *_of_accuracy(list(_comparisons(_averages(tasks), evidence)), look),
        *_of_speed(evidence, look),
    ]


def _rows(evidence: Evidence, metric: str) -> pd.DataFrame:
    rows = evidence.rows(evidence.plan.shown.measuring(evidence.study, [metric]))
    rows = layout.of_study(rows[rows["metric"].isna() | (rows["metric"] == metric)], evidence.study)
    return with_losses(rows, evidence.records)


def _averages(rows: pd.DataFrame) -> pd.DataFrame:
    """Select the means over tasks, if a suite has any."""
    return rows[rows["metric"].isna() | (rows["task"] == MEAN)] if (rows["task"] == MEAN).any() else rows


def _comparisons(rows: pd.DataFrame, evidence: Evidence) -> Iterator[Comparison]:
    for model, of_model in rows.groupby("model", sort=False):
        base = of_model[of_model["baseline"]]
        for _, point in layout.points(of_model[~of_model["baseline"]]).iterrows():
            at_point, name = layout.at_point(of_model[~of_model["baseline"]], point), layout.point(point)
            tests = [test for test in layout.tests(at_point) if test[1]]
            columns = [(name, test) for test in tests]
            lines = lines_of(at_point, columns, evidence.half)
            all_blocks = [line for line in lines if not line.half]
            whole = [line for line in all_blocks if all(mean and not mean.missing for mean in line.means)]
            if not tests or not whole:
                continue
            ranked = sorted(whole, key=lambda line: -_quality(line))
            dense = lines_of(base, columns, evidence.half)
            excess = [over_dense(line, [line, *dense], range(len(tests))) for line in ranked]
            sure = len(ranked) > 1 and all(wins(ranked[0], lines, column) for column in range(len(tests)))
            without = len(all_blocks) - len(whole)
            among = ", among those that prune all blocks" if len(all_blocks) < len(lines) else ""
            among += f", among the {len(whole)} with all numbers ({without} without)" if without else ""
            several = rows["model"].nunique() > 1
            title = f"{evidence.labels.get(f'models/{model}', model)} at {name}" if several else f"At {name}"
            yield Comparison(title, among, tests, ranked, excess, sure and not without)


def _quality(line: Line) -> float:
    """Average the means of `line` so that more is better."""
    return sum(-mean.value if mean.scale.lower else mean.value for mean in line.means if mean) / len(line.means)


def _name(line: Line, look: Look) -> str:
    return look.label(dict(zip(layout.ROW, line.key, strict=True)) | {"pattern": ""})


def _of_perplexity(comparisons: Sequence[Comparison], look: Look) -> Iterator[str]:
    if len(comparisons) > SENTENCES:
        yield _counted(comparisons, look, "perplexity is lowest")
    for comparison in comparisons if len(comparisons) <= SENTENCES else ():
        best, (ratio, *others) = comparison.ranked[0], [_times(excess) for excess in comparison.excess]
        values = [
            f"{mean.scale.number(mean.shown)} on {layout.measured(task, look.labels)}"
            for mean, (_, task) in zip(best.means, comparison.tests, strict=True)
            if mean
        ]
        beside = f", {ratio} that of the dense model" if ratio else ""
        if not others:
            yield f"{comparison.beginning}, {_name(best, look)} has a perplexity of {_joined(values)}{beside}."
            continue
        second = comparison.ranked[1]
        worse = f" ({others[0]})" if others[0] else ""
        lowest = "lowest perplexity on average" if len(values) > 1 else "lowest perplexity"
        yield (
            f"{comparison.beginning}, {_name(best, look)} has the {lowest}: "
            f"{_joined(values)}{beside}. "
            f"Next comes {_name(second, look)}{worse}; {_chance(comparison.sure)}."
        )
    collapsed = [
        f"{_name(line, look)} {comparison.where[0].lower()}{comparison.where[1:]}"
        if comparison.where.startswith("At ")
        else f"{_name(line, look)} ({comparison.where})"
        for comparison in comparisons
        for line, excess in zip(comparison.ranked, comparison.excess, strict=True)
        if excess is not None and excess > math.log(COLLAPSED)
    ]
    if collapsed:
        more = f" and {len(collapsed) - SENTENCES} more" if len(collapsed) > SENTENCES else ""
        shown = ", ".join(collapsed[:SENTENCES])
        yield f"Useless, with over {COLLAPSED} times the perplexity of the dense model: {shown}{more}."


def _of_accuracy(comparisons: Sequence[Comparison], look: Look) -> Iterator[str]:
    if len(comparisons) > SENTENCES:
        yield _counted(comparisons, look, "accuracy is highest")
        return
    for comparison in comparisons:
        best, excess = comparison.ranked[0], comparison.excess[0]
        shown = [f"{mean.shown:.1f}%" for mean in best.means if mean]
        beside = "" if excess is None else f", {100 * excess:+.1f} points beside the dense model"
        means = "mean accuracy over the tasks" if comparison.tests[0][1] == MEAN else "accuracy"
        if len(comparison.ranked) == 1:
            yield f"{comparison.beginning}, {_name(best, look)} has a {means} of {_joined(shown)}{beside}."
        else:
            yield (
                f"{comparison.beginning}, {_name(best, look)} has the highest {means}: {_joined(shown)}{beside}; "
                f"{_chance(comparison.sure)}."
            )


def _of_speed(evidence: Evidence, look: Look) -> Iterator[str]:
    rows = evidence.rows(evidence.plan.shown.measuring(evidence.study, ["decode"]))
    gains = []
    for cell in timed_cells(layout.of_study(rows, evidence.study)):
        value, first = reader(cell), cell.iloc[0]
        batches = sorted({int(name.rpartition("_")[2]) for name in cell["metric"].dropna() if "decode_" in name})
        packed, dense = ((value(form, f"decode_{batches[0]}") if batches else None) for form in (PACKED, DENSE))
        size = value(PACKED, "linears")
        if packed and dense and size and not first["baseline"]:
            gains.append((packed / dense, size, look.label(first), layout.point(first), batches[0]))
    if gains:
        ratio, size, name, point, batch = max(gains)
        yield (
            f"Packed, {name} at {point} writes {ratio:.2f} times as many tokens per second as the dense model by "
            f"PyTorch (batch {batch}), and its pruned matrices take {size:.2f} of the bytes."
        )


def _counted(comparisons: Sequence[Comparison], look: Look, what: str) -> str:
    """Count which method is best how often."""
    best = Counter(_name(comparison.ranked[0], look) for comparison in comparisons)
    sure = sum(comparison.sure for comparison in comparisons)
    shown = [f"{name} in {count}" for name, count in best.most_common(SENTENCES)]
    return f"Of {len(comparisons)} comparisons (model and sparsity), {what} of {_joined(shown)}; {sure} leads are sure."


def _times(excess: float | None) -> str:
    return "" if excess is None else f"{rounded(math.exp(excess), collapses=True, significant=3)} times"


def _chance(sure: bool) -> str:
    return "the lead over every other is sure" if sure else "the lead may be chance"


def _joined(texts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))
