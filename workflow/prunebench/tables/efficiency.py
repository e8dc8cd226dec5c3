"""The table of efficiency: what a sparsity costs in perplexity, and what it buys in bytes, memory and time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from prunebench.suites.metrics import metric
from prunebench.suites.speed import BUSY, DENSE, KERNEL, PACKED, ZEROS, setting
from prunebench.tables import layout
from prunebench.tables.base import Evidence, StudyTable
from prunebench.tables.means import mean
from prunebench.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.suites.base import Suite

Value = Callable[[str, str], float | None]
"""The mean of a metric of a form of the model (form, metric)."""


class Head(NamedTuple):
    """A column: its place in the head, and how its entry follows from the values of a cell."""

    group: str
    name: str
    entry: Callable[[Value], str]


class EfficiencyTable(StudyTable):
    """Perplexity, bytes, memory and speed of packed models, beside the dense model in one run.
    Only cells whose speed is measured have a row. Several seeds are averaged.

    Every row compares forms of a model that took turns in one job, so ratios are of that job. *Zeros in place* is the
    pruned model by PyTorch, which should be as fast as the dense one. *Our dense kernel* runs the dense model with as
    much care as the packed one: the ratio to it is the part of the gain that is due to sparsity.
    """

    name = "efficiency"

    @classmethod
    def shows(cls, suite: type[Suite]) -> bool:
        """Say whether a suite measures speed, or the perplexity beside it."""
        return suite.table == cls.name or any(metric.name == "perplexity" for metric in suite.metrics)

    def make(self, rows: pd.DataFrame, evidence: Evidence) -> Table:
        """Lay out a row for each cell and suite of speed; see the class."""
        labels = evidence.labels
        rows = layout.of_study(rows, evidence.study)
        suites = evidence.plan.shown.measuring(evidence.study, ["decode"])
        timed = rows[rows["suite"].isin(suites)]
        keys = [*layout.ROW, *layout.POINT]
        measured = set(timed[keys].itertuples(index=False, name=None))
        rows = rows.loc[[key in measured for key in rows[keys].itertuples(index=False, name=None)]]
        texts = rows[~rows["suite"].isin(suites)]
        tests = layout.tests(texts)
        corpora = layout.named([(suite, layout.measured(task, labels)) for suite, task in tests])
        batches = sorted({int(name.rpartition("_")[2]) for name in timed["metric"].dropna() if "decode_" in name})
        heads = [*_sizes(), *(head for batch in batches for head in _speeds(batch))]
        lines: list[tuple[str, ...]] = []
        for keyed in timed_cells(timed):
            first = keyed.iloc[0]
            cell = texts[(texts[keys] == first[keys]).all(axis=1)]
            perplexities = [_perplexity(layout.of_test(cell, test)) for test in tests]
            blank = layout.blank(keyed)
            value = reader(keyed)
            entries = [head.entry(value) if blank is None else blank for head in heads]
            point = "0%" if first["baseline"] else layout.point(first)
            stub = layout.stub(first[layout.ROW], rows, labels)
            lines.append(
                (*stub, point, labels.get(f"suites/{first['suite']}", first["suite"]), *perplexities, *entries)
            )
        return Table(
            title=layout.caption("What sparsity costs and buys", evidence.study, labels),
            stub=(*layout.STUB, "Sparsity", "Measured with"),
            columns=[
                *((f"Perplexity, {suite}" if suite else "Perplexity", corpus) for suite, corpus in corpora),
                *((head.group, head.name) for head in heads),
            ],
            rows=lines,
            notes=[
                layout.counts(timed),
                "Bytes: those of the linears of all blocks, divided by the dense ones. MB: 10^6 bytes; on disk of all "
                "weights, in memory the most that a process with its libraries takes to load and read a prompt.",
                "Vs: how many times faster the packed model is than the dense one by PyTorch, than the pruned one with "
                "zeros in place by PyTorch, and than the dense one by our own dense kernel.",
                *_conditions(evidence, timed),
                *layout.reasons(rows, labels),
            ],
        )


def timed_cells(timed: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the rows of each cell and suite: of each model the dense one first, then by sparsity."""
    for _, of_model in timed.groupby("model", sort=False):
        dense = of_model[of_model["baseline"]]
        pruned = of_model[~of_model["baseline"]]
        parts = [dense, *(layout.at_point(pruned, point) for _, point in layout.points(pruned).iterrows())]
        for part in parts:
            for _, keyed in part.groupby([*layout.ROW, "suite"], sort=False):
                yield keyed


def reader(rows: pd.DataFrame) -> Value:
    """Give access to the mean over seeds of each metric of each form."""
    values = rows.groupby(["task", "metric"])["value"].mean()
    return lambda form, name: float(values[form, name]) if (form, name) in values.index else None


def _perplexity(rows: pd.DataFrame) -> str:
    blank = layout.blank(rows)
    return str(mean(rows)) if blank is None else blank


def _shown(name: str) -> Callable[[Value], str]:
    """Print the metric `name` of the packed model, or of the dense model where nothing is packed."""

    def entry(value: Value) -> str:
        numbers = (value(PACKED, name), value(DENSE, name))
        return next((metric(name).text(number) for number in numbers if number is not None), "")

    return entry


def _times(name: str, form: str) -> Callable[[Value], str]:
    """Print how many times greater the metric `name` of the packed model is than the one of `form`."""

    def entry(value: Value) -> str:
        number, reference = value(PACKED, name), value(form, name)
        return "" if number is None or reference is None else f"{number / reference:.2f}x"

    return entry


def _sizes() -> list[Head]:
    return [
        Head("Weights", "bytes", _shown("linears")),
        Head("Weights", "MB on disk", _shown("disk")),
        Head("Process", "load, s", _shown("load")),
        Head("Process", "memory, MB", _shown("peak")),
    ]


def _speeds(batch: int) -> list[Head]:
    group, prefill, decode = f"Batch {batch}", f"prefill_{batch}", f"decode_{batch}"
    return [
        Head(group, "prompt tokens/s", _shown(prefill)),
        Head(group, "prompt vs dense", _times(prefill, DENSE)),
        Head(group, "written tokens/s", _shown(decode)),
        Head(group, "written vs dense", _times(decode, DENSE)),
        Head(group, "vs zeros in place", _times(decode, ZEROS)),
        Head(group, "vs dense kernel", _times(decode, KERNEL)),
    ]


def _conditions(evidence: Evidence, timed: pd.DataFrame) -> list[str]:
    """Say in notes on what machine, with which threads and kernel, and beside what other work times were measured."""
    notes: dict[str, None] = {}
    busy: list[float] = []
    expansion = evidence.plan.studies[evidence.study]
    for cell in expansion.cells:
        for suite in set(timed["suite"]) & set(expansion.suites[cell]):
            record, cost = evidence.records.evaluation(cell, suite), evidence.records.measured(cell, suite)
            details = [score["details"] for score in record.get("scores", ()) if score["details"].get("kernel")]
            if details and cost:
                machine = cost["machine"] if cost["device"] == "cpu" else cost["device"]
                notes[f"{machine}, {setting(details[0])}, torch {cost['versions']['torch']}"] = None
                busy.append(details[0]["others"])
    disturbed = sum(others > BUSY for others in busy)
    warning = (
        [f"Other programs used up to {max(busy):.1f} CPUs while {disturbed} of {len(busy)} cells were timed."]
        if disturbed
        else []
    )
    return [f"Measured on {'; '.join(notes)}."] * bool(notes) + warning
