"""Stage gather_search: choose the best of the seeds of a search."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prunebench.identity.canonical import spec_hash
from prunebench.plan.jobs.search import GatherSearchSpec
from prunebench.storage.sealed import check_maker, read_record, write_record


def gather_search(spec: str, results: Sequence[Path], best: Path) -> str:
    """Write `best` from the `results` of all seeds of one search; returns its headline.

    `best` is JSON: status, the best candidate with its value and seed, and a summary of each seed. The first of equal
    values wins. The result is a failure only if no seed found anything.
    """
    made_from = GatherSearchSpec.model_validate_json(spec).seeds
    runs = [read_record(path) for path in results]
    for path, run in zip(results, runs, strict=True):
        # By seed: the spec has the seeds in the order of texts, where 10 comes before 2.
        check_maker(path, run["spec_hash"], made_from.get(str(run["spec"]["seed"]), ""))
    seeds = {str(run["spec"]["seed"]): _summary(run) for run in runs}
    record: dict[str, Any] = {"spec_hash": spec_hash(spec), "spec": json.loads(spec), "seeds": seeds}
    winners = [run for run in runs if run["status"] == "ok"]
    if not winners:
        record |= {"status": "failed", "reason": runs[0]["reason"]}
    else:
        winner = min(winners, key=lambda run: float(run["best"]["value"]))
        record |= {
            "status": "ok",
            "best": {**winner["best"], "seed": winner["spec"]["seed"]},
            "uniform": winner["uniform"],
            "model": winner["model"],
            "searched": {key: winner["spec"][key] for key in ("sparsity", "space", "strategy", "evaluations")},
        }
    write_record(best, record)
    return f"best of {len(seeds)} seeds: {record['best']}" if winners else f"failed: {record['reason']}"


def _summary(result: dict[str, Any]) -> dict[str, Any]:
    return {key: result[key] for key in ("status", "reason", "best", "evaluations", "stopped") if key in result}
