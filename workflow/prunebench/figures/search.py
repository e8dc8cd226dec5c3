"""The figure of searches for an allocation function: the best candidate so far against the evaluations it took."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from prunebench.figures import blocks
from prunebench.figures.base import StudyFigure
from prunebench.figures.chart import Axis, Chart, Panel, Series, Style
from prunebench.figures.look import Look

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.cell import Cell
    from prunebench.plan.outputs import Shown
    from prunebench.tables.base import Evidence

COLUMNS = ("search", "strategy", "space", "model", "pattern", "sparsity", "seed", "uniform", "evaluation", "best")


class SearchFigure(StudyFigure):
    """The best perplexity so far (on the tuning split) of each search that a study lists.
    There is a panel per model and sparsity; uniform sparsity is a level.

    Several seeds give the geometric mean, and a band from the lowest to the highest.
    """

    name = "search"
    order = 40

    @classmethod
    def cells(cls, shown: Shown, study: str) -> list[Cell]:
        """List no cells: a search prunes none."""
        return []

    @classmethod
    def searches(cls, shown: Shown, study: str) -> list[tuple[str, int]]:
        """List all runs of the searches."""
        return shown.searches(study)

    def make(self, evidence: Evidence) -> Chart:
        """Draw the chart from the evidence; see `chart_of`."""
        return self.chart_of(*courses(evidence), Look.of(evidence))

    def chart_of(self, courses: pd.DataFrame, notes: Sequence[str], look: Look) -> Chart:
        """Draw `courses` (COLUMNS), which has a row per run of a search and evaluation; `notes` say what the runs are.

        The column `best` is the lowest perplexity up to the evaluation, `uniform` the perplexity with uniform sparsity.
        A run that ended before the others keeps the best that it found.
        """
        # The strategy names a search in all panels, unless a panel has two searches with one strategy.
        alike = courses.drop_duplicates("search").duplicated(["model", "sparsity", "space", "strategy"]).any()
        titles = [look.title(f"searches/{name}") for name in courses["search"]]
        courses = courses.assign(label=titles if alike else courses["strategy"].str.capitalize())
        labels = list(dict.fromkeys(courses["label"]))
        panels = []
        for title, _, rows in blocks.panels(courses, look):
            series = [
                _line(part, str(label), labels.index(label))
                for (_, label), part in rows.groupby(["search", "label"], sort=False)
            ]
            level = math.exp(rows.drop_duplicates(["search", "seed"])["uniform"].map(math.log).mean())
            panels.append(Panel(title, series, {look.title("allocators/uniform"): level}))
        several = courses["seed"].nunique() > 1
        bands = ["Lines: geometric mean over seeds. Bands: from the lowest to the highest."] if several else []
        return Chart(
            title="Best allocation function so far, perplexity on the tuning split, lower is better",
            x=Axis("Evaluations"),
            y=Axis("Perplexity (tuning split)", log=True),
            panels=panels,
            notes=[" ".join([*notes, *bands])],
            columns=2,
        )


def courses(evidence: Evidence) -> tuple[pd.DataFrame, list[str]]:
    """Make a row per evaluation of every run of the searches that a study shows, and notes on what they rest on.

    A search is left out if any of its seeds has no result: the mean over the others would favour lucky seeds.
    """
    import pandas as pd

    plan = evidence.plan
    records = {run: evidence.records.search(*run) for run in plan.shown.searches(evidence.study)}
    bad = {run: record for run, record in records.items() if record["status"] != "ok"}
    rows = [
        {
            **plan.config.searches[name].model_dump(include={"strategy", "space", "model", "sparsity"}),
            **{"search": name, "seed": seed, "pattern": "unstructured", "uniform": record["uniform"]},
            **{"evaluation": evaluation, "best": best},
        }
        for (name, seed), record in records.items()
        if name not in {search for search, _ in bad}
        for evaluation, best in course(record["history"]).items()
    ]
    statuses = Counter(entry["status"] for record in records.values() for entry in record.get("history", ()))
    notes = [f"Rests on {len(records) - len(bad)} of {len(records)} runs of searches."]
    notes += [f"{record['status']}: {name}, seed {seed}: {record['reason']}." for (name, seed), record in bad.items()]
    if statuses["invalid"] or statuses["known"]:
        notes.append(
            f"Candidates that were invalid ({statuses['invalid']}) or the same as an earlier one ({statuses['known']}) "
            "cost no evaluation."
        )
    return pd.DataFrame(rows, columns=list(COLUMNS)), notes


def course(history: Sequence[dict[str, Any]]) -> dict[int, float]:
    """Find the lowest value after each evaluation. Candidates that were invalid or known cost no evaluation."""
    values = {entry["evaluation"]: entry["value"] for entry in history if entry["status"] == "ok"}
    return dict(zip(values, accumulate(values.values(), min), strict=True))


def _line(rows: pd.DataFrame, label: str, index: int) -> Series:
    seeds = rows.pivot(index="evaluation", columns="seed", values="best").ffill()
    # Points are needed only where a value changes, and at the end.
    changed = seeds.ne(seeds.shift()).any(axis=1)
    changed.iloc[-1] = True
    shown = seeds[changed & seeds.lt(math.inf).all(axis=1)]
    several = len(seeds.columns) > 1
    return Series(
        label=label,
        style=Style(index, index, index),
        x=[float(evaluation) for evaluation in shown.index],
        y=shown.map(math.log).mean(axis=1).map(math.exp).tolist(),
        low=shown.min(axis=1).tolist() if several else (),
        high=shown.max(axis=1).tolist() if several else (),
        names=[f"{label}, {evaluation} evaluations" for evaluation in shown.index],
        form="steps",
    )
