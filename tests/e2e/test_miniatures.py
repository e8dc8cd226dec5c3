"""Every study of the papers runs to its tables, in miniature (tests/miniature.py), from the hub for tests."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

import miniature
from dag.test_papers import CELLS, FILES, STUDIES
from hub_server import TOKEN, serving
from prunebench.plan.plan import load_plan

AXES = ["model", "method", "allocator", "pattern", "sparsity", "calibration", "seed"]
FAST = ("dsa-search.yaml", "dsa-tasks.yaml")
"""Searches, all kinds of suites, all kinds of methods, the hub: what runs in CI beside the plans of all others."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "file", [pytest.param(file, marks=[] if file in FAST else pytest.mark.studies) for file in FILES]
)
def test_a_study_runs_to_its_tables(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = yaml.safe_load((STUDIES / file).read_text())
    plan = load_plan(miniature.derived(raw, tmp_path / "rows"), file, miniature.CATALOG)
    monkeypatch.chdir(tmp_path)
    with serving() as hub:
        miniature.serve(hub, plan, tmp_path / "hub")
        hub.connect(monkeypatch, tmp_path / "cache", TOKEN)
        tables = miniature.compute(plan)
    assert {name: len(of.cells) for name, of in plan.studies.items()}.items() <= CELLS.items()
    rows = pd.read_csv(plan.job("collect").outputs[0])
    assert set(rows["status"]) == {"ok"}, rows.loc[rows["status"] != "ok", ["method", "allocator", "reason"]]
    for study, of in plan.studies.items():
        assert len(rows.loc[rows["study"] == study, AXES].drop_duplicates()) == len(of.cells)
    for table in tables:
        text = table.read_text()
        assert "missing" not in text and "failed" not in text
