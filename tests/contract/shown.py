"""A study with something for every table and figure, and what results/cells.csv could hold of it."""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import product
from typing import Any

import pandas as pd

from prunebench.config.schema import configured
from prunebench.plan.plan import Plan, load_plan
from prunebench.registry import load, names
from prunebench.stages.collect import COLUMNS

PACKAGE = {
    "kind": "package",
    "package": "some-model",
    "version": "1.0",
    "file": "some_model-1.0-py3-none-any.whl",
    "sha256": "0" * 64,
}
SPEED = ("disk", "linears", "load", "peak", *(f"{name}_{n}" for n in (1, 2) for name in ("prefill", "first", "decode")))
"""The metrics of the suite of speed."""
SEARCH = {"model": "tiny", "sparsity": 0.7, "strategy": "evolution", "seeds": [0, 1]}


def plan(catalog: Any) -> Plan:
    """The plan of the study `tiny`, which asks for all tables that can be asked for."""
    source = {**PACKAGE, "members": ["some_model/model.safetensors"]}
    sizes = {"blocks": 2, "hidden": 32, "ffn": 48, "attention": 32, "vocabulary": 160}
    task = {"stock": "glue/rte/default.yaml", "rows": {"validation": "rte.jsonl"}}
    pruned = {"method": ["wanda", "sparsellm"], "allocator": ["uniform", "owl"], "sparsity": [0.5, 0.7]}
    config = {
        "studies": {
            "tiny": {
                "suites": ["ppl", "few", "speed"],
                "defaults": {"model": "tiny", "calibration": ["text_4x16", "text_8x16"], "seed": [0, 1]},
                "grid": [{"method": "dense"}, pruned, {"method": "wanda", "pattern": "2of4"}],
                "tables": [name for name in names("tables") if load("tables", name).asked],
                "searches": ["evolution"],
            }
        },
        "models": {"tiny": {"title": "Tiny", "family": "llama", "source": source, "shape": sizes}},
        "corpora": {"text": {"title": "Text", "source": source, "documents": "lines"}},
        "tasks": {"few": {"title": "Few", "source": PACKAGE, "tasks": {"rte": task, "boolq": task}}},
        "suites": {
            "ppl": {"suite": "perplexity", "params": {"corpora": ["text"], "seqlen": 16}},
            "few": {"suite": "lm_eval", "params": {"data": "few", "tasks": ["rte", "boolq"]}},
            "speed": {"suite": "speed", "params": {"prompt": 16, "tokens": 4, "batches": [1, 2]}},
        },
        "searches": {"evolution": {**SEARCH, "calibration": "text_4x16", "corpus": "text"}},
    }
    return load_plan(config, catalog=catalog)


def rows(made: Plan, *, failed: int = 7) -> pd.DataFrame:
    """Rows as `collect` writes them; every `failed`-th evaluation has no number."""
    return pd.DataFrame(list(_rows(made, failed)), columns=list(COLUMNS))


def _rows(made: Plan, failed: int) -> Iterator[dict[str, Any]]:
    for index, evaluation in enumerate(
        (cell, suite) for suite in made.studies["tiny"].all_suites for cell in made.studies["tiny"].cells
    ):
        cell, suite = evaluation
        shared = {"study": "tiny", **asdict(cell), "suite": suite}
        if index % failed == failed - 1:
            yield {**shared, "status": "failed", "reason": "it broke"}
            continue
        plugin = configured("suites", made.config.suites[suite])
        for task, metric in product(plugin.tasks, SPEED if suite == "speed" else (plugin.metrics[0].name,)):
            score = {"task": task, "metric": metric, "value": 0.3 + index / 1000, "stderr": 0.01, "n": 50}
            yield {**shared, **score, "status": "ok", "achieved_sparsity": 0.5, "prune_seconds": 1.0 + index}
