"""A study of thousands of cells is planned with one computation per job, however often Snakemake asks."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benches import finished_study
from prunebench.plan import grid as cells
from prunebench.plan.jobs import base
from prunebench.plan.plan import Plan, load_plan
from prunebench.stages.collect import write_cells
from prunebench.stages.report import write_report
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


@pytest.fixture(scope="module")
def finished_plan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan]:
    """A finished study of 150 cells and the dense one, whose results are made up, and its plan."""
    root = tmp_path_factory.mktemp("large")
    plan = load_plan(finished_study.config(150))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        finished_study.finish(plan)
        write_cells(plan, Path("results/cells.csv"))
    return root, plan


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each result has been opened since, by its path."""
    counts: Counter[str] = Counter()
    original = Path.open

    def counting(self: Path, *arguments: Any, **options: Any) -> Any:
        if self.suffix == ".json" and self.parts[:1] == ("results",):
            counts[str(self)] += 1
        return original(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", counting)
    return counts


def test_collect_reads_each_result_once(
    finished_plan: tuple[Path, Plan], opened: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished_plan[0])
    frame = write_cells(load_plan(finished_plan[1].raw), Path("results/cells.csv"))
    assert len(frame) == 151 and set(frame["status"]) == {"ok"} and frame["prune_seconds"].notna().all()
    assert set(opened.values()) == {1}
    # Of each cell the weights' and the scores' record, and the cost of pruning; shared are allocations and a profile.
    assert len(opened) <= 3 * 151 + 2 * (2 * 25 + 1) + 1


def test_the_report_reads_each_result_once(
    finished_plan: tuple[Path, Plan], opened: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished_plan[0])
    write_report(load_plan(finished_plan[1].raw), Path("results/cells.csv"), Path("results/report/index.html"))
    of_cells = {path: times for path, times in opened.items() if "/allocations/" not in path}
    assert len(of_cells) == 4 * 151 and set(of_cells.values()) == {1}
    # The digest of an allocation, and its content.
    assert set(opened.values()) == {1, 2}
    assert Path("results/report/index.html").stat().st_size < 4e6
