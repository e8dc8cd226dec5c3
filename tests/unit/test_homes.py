"""Each config has a directory of its own for what is made of it alone."""

import json
from pathlib import Path

import pytest

from prunebench.errors import PrunebenchError
from prunebench.plan import graph, paths
from prunebench.plan.plan import load_plan
from prunebench.upkeep.known import known, remember, write_index
from studies import grid

FILES = ["config/config.yaml", "tiny.yaml", "config/tiny.yaml", "config/studies/sparsellm-table1.yaml", "a.yml",
         "a.yaml", "a.yaml, b.yaml", "a_b.yaml", "a b.yaml", "../a.yaml", "/a.yaml", "results.yaml", "ä.yaml",
         "a.b.yaml"]  # fmt: skip


def test_no_two_configs_share_a_directory() -> None:
    homes = [paths.home(file) for file in FILES]
    assert len(set(homes)) == len(homes) and homes[0] == "results"
    assert all(home.startswith("results/of/") and ".." not in home and " " not in home for home in homes[1:])
    assert paths.home("config/studies/sparsellm-table1.yaml") == "results/of/config/studies/sparsellm-table1"


@pytest.mark.parametrize("file", FILES)
def test_its_files_belong_to_jobs(file: str) -> None:
    plan = load_plan(grid({"method": "magnitude", "sparsity": 0.5}), file)
    jobs = [job for job in graph.jobs(plan) if job.rule in ("collect", "tables", "figures", "report")]
    assert {str(job.outputs[0]).startswith(f"{plan.home}/") for job in jobs} == {True}
    assert all(graph.maker(output) == job for job in jobs for output in job.outputs)
    evaluations = [job for job in graph.jobs(plan) if job.rule == "evaluate"]
    assert all(str(job.outputs[0]).startswith("results/evaluations/") for job in evaluations), "cells are shared"


def test_what_was_run_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert known() == []
    config = grid({"method": "magnitude", "sparsity": 0.5})
    config["studies"]["tiny"]["title"] = "A <title>"
    for file in ("config/config.yaml", "gone.yaml"):
        remember(load_plan(config, file))
    assert [plan.file for plan in known()] == ["config/config.yaml", "gone.yaml"]
    assert "A &lt;title&gt;" in Path(paths.INDEX).read_text() and "not gathered yet" in Path(paths.INDEX).read_text()
    # A file that is there counts as it is now, and its mistakes are told.
    Path("gone.yaml").write_text("studies: {}")
    with pytest.raises(PrunebenchError, match=r"gone\.yaml"):
        known()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"file": "a.yaml"}', json.dumps({"file": "a", "config": 3}), "\xff"])
def test_a_damaged_record_is_named_before_anything_is_deleted(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = Path(paths.CONFIG_RECORD.format(home="results/of/a"))
    record.parent.mkdir(parents=True)
    record.write_bytes(text.encode("latin-1"))
    with pytest.raises(PrunebenchError, match=r"config\.json is damaged"):
        known()
    write_index()
    assert "is damaged" in Path(paths.INDEX).read_text()
