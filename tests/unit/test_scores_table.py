"""The table of any metric, from rows of results/cells.csv to text."""

from collections.abc import Iterator
from functools import partial

import pandas as pd
import pytest

from laid_out import lay_out
from prunebench.registry import load
from prunebench.stages.collect import COLUMNS
from prunebench.suites import metrics
from prunebench.suites.metrics import Metric
from prunebench.tables.means import mean

scores_table = partial(lay_out, "scores")
CELL = {"study": "s", "model": "m", "allocator": "uniform", "pattern": "unstructured", "calibration": "c", "suite": "b"}
ERROR = Metric("brier", "Brier score", lower=True, digits=4)
RECALL = Metric("recall", "Recall", percent=True)


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A suite that declares two metrics of its own."""
    monkeypatch.setattr(load("suites", "lm_eval"), "metrics", (ERROR, RECALL))
    metrics.declared.cache_clear()
    yield
    metrics.declared.cache_clear()


def row(method: str, sparsity: str, value: float, metric: Metric = ERROR, seed: int = 0) -> dict[str, object]:
    score = {"task": "rte", "metric": metric.name, "value": value, "stderr": 0.001, "n": 50, "status": "ok"}
    return {**CELL, **score, "method": method, "sparsity": sparsity, "seed": seed}


def table(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS)).assign(baseline=lambda made: made["method"] == "dense")


def test_a_column_for_each_metric_of_a_task_in_its_unit() -> None:
    undeclared = {**row("wanda", "0.50", 9.0), "metric": "other"}
    cells = table(
        row("dense", "0.00", 0.1234), row("dense", "0.00", 0.5, RECALL), row("wanda", "0.50", 0.25), undeclared
    )
    made = scores_table(cells, "s", {"tasks/rte": "RTE"})
    assert made.title == "Brier score (lower is better), Recall (higher is better): study s"
    assert made.columns == [("", "RTE Brier score"), ("", "RTE Recall")]
    assert [line[-3:] for line in made.rows] == [("0%", "0.1234", "50.00"), ("50%", "0.2500", "")]


def test_less_is_better_where_the_metric_says_so() -> None:
    rivals = [row("wanda", "0.50", 0.2), row("ria", "0.50", 0.3)]
    rivals += [row("wanda", "0.50", 0.2, RECALL), row("ria", "0.50", 0.3, RECALL)]
    made = scores_table(table(*rivals), "s")
    assert made.bold == {(0, 0), (1, 1)}


def test_seeds_are_averaged_on_the_scale_of_the_metric() -> None:
    rows = table(row("wanda", "0.50", 0.2), row("wanda", "0.50", 0.4, seed=1))
    assert str(mean(rows)) == "0.3000 ± 0.1414"
    recall = table(row("wanda", "0.50", 0.2, RECALL), row("wanda", "0.50", 0.4, RECALL, seed=1))
    assert str(mean(recall)) == "30.00 ± 14.14"


def test_a_metric_that_no_suite_declares_is_like_its_namesake() -> None:
    assert metrics.metric("recall_at_5").text(0.5) == "50.0%"
    assert metrics.metric("unheard").text(0.5) == "0.50" and not metrics.metric("unheard").log
