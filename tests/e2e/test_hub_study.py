"""A study on models and texts of a hub that runs on this machine, then again without it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import hub_repositories
from dag.tree import Tree
from hub_server import HubServer

TABLE = "results/of/hub/tables/hub/perplexity.md"
STUDY: dict[str, Any] = {
    "studies": {
        "hub": {
            "suites": ["ppl_papers"],
            "defaults": {"model": ["opt", "llama"], "calibration": "c4_4x16"},
            "grid": [{"method": "dense"}, {"method": "wanda", "sparsity": 0.5}],
        }
    },
    "compute": {"dtype": "bfloat16", "batch_size": 4, "threads": 1},
    "models": {
        name: {
            "title": repo,
            "family": name,
            "source": {"kind": "hub", "repo": repo, "revision": revision},
            "shape": hub_repositories.SHAPE,
        }
        for name, repo, revision in (
            ("opt", "facebook/opt-125m", "refs/pr/1"),
            ("llama", "huggyllama/llama-7b", "main"),
        )
    },
    "suites": {
        "ppl_papers": {
            "suite": "perplexity",
            "params": {"corpora": ["wikitext2", "ptb", "c4"], "seqlen": 16, "bos": True},
        }
    },
}


@pytest.mark.studies
def test_a_study_of_hub_models_and_texts_runs_and_needs_the_hub_once(tmp_path: Path, hub: HubServer) -> None:
    tree = Tree.create(tmp_path / "tree")
    (tree.root / "hub.yaml").write_text(yaml.safe_dump(STUDY))
    online = replace(tree, environment=hub.environment(tmp_path / "cache"))
    run = online.snakemake(TABLE, study="hub.yaml")
    assert run.returncode == 0, run.stdout
    table = (tree.root / TABLE).read_text()
    assert "4 of 4 cells" in table, table
    assert all(f"50% {text}" in table for text in ("WikiText-2", "Penn Treebank", "C4")), table
    assert len(hub.downloads()) == len(set(hub.downloads())), "each file once"
    asked = len(hub.requests)
    tree.edit("hub.yaml", "sparsity: 0.5", "sparsity: 0.55")
    run = online.snakemake(TABLE, study="hub.yaml")
    assert run.returncode == 0 and "\nevaluate " in run.stdout, run.stdout
    assert len(hub.requests) == asked, "what computes does not even ask"
    hub.stop()
    offline = replace(tree, environment={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")})
    assert "Nothing to be done" in offline.snakemake(TABLE, study="hub.yaml").stdout
    tree.edit("hub.yaml", "sparsity: 0.55", "sparsity: 0.6")
    run = offline.snakemake(TABLE, study="hub.yaml")
    assert run.returncode == 0 and "\nprune " in run.stdout and "\nfetch" not in run.stdout, run.stdout
    assert "60% WikiText-2" in (tree.root / TABLE).read_text()
