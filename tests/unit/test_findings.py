"""The summary of the report: sentences that are made from the numbers of a study, and from nothing else."""

from pathlib import Path

import pandas as pd
import pytest

from contract import shown
from prunebench.plan.plan import Plan
from prunebench.report.findings import findings
from prunebench.report.summary import summary
from prunebench.results.detail import Records
from prunebench.tables.base import Evidence

VALUES = {"dense": 10.0, "wanda": 30.0, "sparsellm": 20.0}


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.chdir(tmp_path)
    return shown.plan(tmp_path)


def cells_of(plan: Plan, calibration: str = "text_4x16", spread: float = 0.01) -> pd.DataFrame:
    """Rows of a study without failures, whose perplexities are VALUES, a little worse with OWL, `spread` over seeds."""
    rows = shown.rows(plan, failed=10**9)
    rows = rows[rows["calibration"].isin([calibration, "none"])]
    texts = rows["metric"] == "perplexity"
    value = rows["method"].map(VALUES) + (rows["allocator"] == "owl") + spread * rows["seed"]
    return rows.assign(value=rows["value"].mask(texts, value))


def said(plan: Plan, cells: pd.DataFrame) -> list[str]:
    return findings(Evidence(plan, "tiny", cells, Records(plan)))


def test_the_best_at_each_sparsity_is_named_with_its_distance_to_the_dense_model(plan: Plan) -> None:
    sentences = said(plan, cells_of(plan))
    (half,) = [sentence for sentence in sentences if sentence.startswith("At 50%") and "perplexity" in sentence]
    assert "SparseLLM + Uniform, text_4x16 has the lowest perplexity: 20.00 on Text, 2.00 times that of the" in half
    assert "Next comes SparseLLM + OWL, text_4x16 (2.10 times); the lead over every other is sure." in half
    assert any(sentence.startswith("At 70%") for sentence in sentences)
    alike = said(plan, cells_of(plan, spread=3.0))
    assert any(sentence.startswith("At 50%") and "the lead may be chance." in sentence for sentence in alike)


@pytest.mark.parametrize(("value", "useless"), [(999.0, False), (1001.0, True)])
def test_a_model_that_is_a_hundred_times_worse_is_called_useless(value: float, useless: bool, plan: Plan) -> None:
    cells = cells_of(plan)
    broken = (cells["method"] == "wanda") & (cells["pattern"] == "2of4") & (cells["metric"] == "perplexity")
    sentences = said(plan, cells.assign(value=cells["value"].mask(broken, value)))
    assert any(sentence.startswith("Useless") and "Wanda" in sentence for sentence in sentences) == useless


def test_what_has_no_number_or_lacks_a_seed_is_never_the_best(plan: Plan) -> None:
    cells = cells_of(plan)
    for status in ("failed", "missing"):
        gone = (cells["method"] == "sparsellm") & (cells["seed"] == 1)
        lacking = cells.assign(status=cells["status"].mask(gone, status), metric=cells["metric"].mask(gone))
        sentences = [sentence for sentence in said(plan, lacking) if "perplexity" in sentence]
        assert not any("SparseLLM" in sentence for sentence in sentences)
        half = next(sentence for sentence in sentences if sentence.startswith("At 50%"))
        assert half.startswith("At 50%, among the 2 with all numbers (2 without), Wanda") and "is sure" not in half


def test_many_comparisons_are_counted(plan: Plan) -> None:
    cells = cells_of(plan)
    pruned = cells[(cells["sparsity"] == "0.50") & (cells["pattern"] == "unstructured")]
    more = [pruned.assign(sparsity=f"0.{percent}") for percent in range(10, 20)]
    sentences = said(plan, pd.concat([cells, *more]))
    assert sum("lowest perplexity" in sentence for sentence in sentences) == 0
    assert any(sentence.startswith("Of 13 comparisons") and "SparseLLM" in sentence for sentence in sentences)


def test_the_summary_says_what_was_pruned_and_what_is_missing(plan: Plan) -> None:
    rows = shown.rows(plan, failed=7)
    made = summary(plan, rows, Records(plan), [])
    (study,) = made["studies"]
    assert study["pruned"].startswith("Tiny pruned to 50%, 70%, 2of4 (50%) zeros by Wanda, SparseLLM.")
    assert "Uniform, OWL" in study["pruned"] and "text_4x16, text_8x16, 2 seeds" in study["pruned"]
    assert study["findings"][0].startswith("Not all cells have numbers (") and "failed" in study["findings"][0]
    assert made["made"] == [] and any("Two seeds" in sentence for sentence in made["limits"])
    assert not summary(plan, cells_of(plan), Records(plan), [])["studies"][0]["findings"][0].startswith("Not all")
