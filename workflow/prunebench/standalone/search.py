"""Runs the search stage of the DAG to find an allocation for one model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunebench.assets.manifest import load_manifest
from prunebench.config.values import Compute
from prunebench.errors import PrunebenchError
from prunebench.identity.canonical import canonical
from prunebench.plan.jobs.base import Job
from prunebench.runtime.provenance import conditions
from prunebench.standalone.assets import arrive
from prunebench.standalone.request import model_entry, plan_without_study, refuse_unknown
from prunebench.standalone.run import calibration_text, draw_tokens, fetch_to_root, run_jobs, threads
from prunebench.storage.digests import user_cache
from prunebench.storage.files import sha256_file
from prunebench.storage.locks import alone
from prunebench.storage.resume import claim
from prunebench.storage.sealed import read_record

_NAME = "request"


@dataclass(frozen=True)
class SearchRequest:
    """A user's wish to search for an allocation of one model. `options` are keys of a `searches` entry."""

    model: str
    sparsity: float
    seed: int
    options: dict[str, Any]
    compute: Compute


def run_search(request: SearchRequest) -> dict[str, Any]:
    """Run the search and return its result (see stages/search_allocation.py).

    The files lie in the cache. A repeated request goes on with a stopped search, and returns the result of a finished
    search at once. Raises PrunebenchError for an unknown model or corpus, or if the search fails.
    """
    name, entries = model_entry(request.model)
    refuse_unknown("corpora", request.options["corpus"])
    search = {
        **request.options,
        "model": name,
        "sparsity": request.sparsity,
        "seeds": [request.seed],
        "compute": request.compute.model_dump(),
    }
    plan = plan_without_study(request.compute, models=entries, searches={_NAME: search})
    job = plan.job("search_allocation", search=_NAME, seed=request.seed)
    root = user_cache() / "searches" / job.spec_hash
    advice = "when it is done, the same command answers at once"
    with threads(request.compute.threads), alone(root, "this search is under way", advice):
        return _run(job, root)


def _run(job: Job, root: Path) -> dict[str, Any]:
    search = job.config.searches[_NAME]
    model = fetch_to_root(job, root)
    corpus = arrive(job.plan, f"corpora/{search.corpus}", root)
    draw = job.plan.job("calibrate", model=search.model, calibration=search.calibration, seed=search.calibration_seed)
    tokens = draw_tokens(draw, calibration_text(draw, root), root)
    digests = [load_manifest(path).digest for path in (model, corpus)] + [sha256_file(tokens)]
    claim(root / "results", canonical([job.spec, *digests, conditions()]))
    run_jobs([job], root, tokens=tokens, corpus=corpus)
    record = read_record(root / job.outputs[0])
    if record["status"] != "ok":
        raise PrunebenchError(f"the search found nothing: {record['reason']}")
    return record
