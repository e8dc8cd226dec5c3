"""A study of thousands of cells is planned with one computation per job, however often Snakemake asks."""

from collections import Counter

import pytest

from prunebench.plan import grid as cells
from prunebench.plan.jobs import base
from prunebench.plan.plan import load_plan
from studies import grid

CELLS = 5000
ROWS = {
    "method": ["wanda", "wanda_down"],
    "sparsity": [percent / 100 for percent in range(1, 51)],
    "seed": list(range(50)),
}


def test_each_spec_of_a_large_study_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: Counter[str] = Counter()
    canonical = base.canonical

    def counting(value: dict[str, object]) -> str:
        text = canonical(value)
        computed[text] += 1
        return text

    monkeypatch.setattr(base, "canonical", counting)
    plan = load_plan(grid(ROWS))
    assert len(plan.cells) == len(plan.evaluations) == CELLS
    for _ in range(2):
        for wildcards in plan.evaluations:
            assert plan.job("evaluate", **wildcards).spec
            pruning = plan.job("prune", **wildcards)
            assert pruning.spec and pruning.threads
    # prune and evaluate of each cell; the two methods share 50 allocations and 50 token files; model and corpus.
    assert len(computed) == 2 * CELLS + 50 + 50 + 2
    assert set(computed.values()) == {1}


def test_a_local_model_is_read_once_per_pattern_and_text(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    shape = cells.model_shape
    monkeypatch.setattr(cells, "model_shape", lambda entry: reads.append(entry) or shape(entry))
    plan = load_plan(grid({"method": "wanda", "pattern": ["2of4", "1of4"], "seed": list(range(100))}))
    assert len(plan.cells) == 200
    assert len(reads) == 4, "two patterns, a calibration set and a suite"
