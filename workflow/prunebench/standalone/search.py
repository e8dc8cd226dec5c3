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
from prunebench.registry import did_you_mean
from prunebench.runtime.provenance import conditions
from prunebench.search.strategies import STRATEGIES
from prunebench.standalone.assets import arrive
from prunebench.standalone.request import model_entry, plan_without_study, refuse_unknown
from prunebench.standalone.run import calibration_text, draw_tokens, fetch_to_root, run_jobs, threads
from prunebench.storage.digests import user_cache
from prunebench.storage.files import sha256_file
from prunebench.storage.locks import alone
from prunebench.storage.resume import claim
from prunebench.storage.sealed import read_record

_NAME = "request"
ALLOCATORS = {"functions": ("dsa", "function"), "slopes": ("atp", "slope")}
"""For each space, the allocator that uses the result of a search, and the parameter that takes this result."""


@dataclass(frozen=True)
class SearchRequest:
    """A user's wish to search for an allocation of one model. `options` are keys of a `searches` entry."""

    model: str
    sparsity: float
    seed: int
    options: dict[str, Any]
    compute: Compute
    stored: bool = True
    """Whether the weights are on disk. Those of a model in memory are saved when all checks are done."""


def search_options(
    space: str, strategy: str, evaluations: int, corpus: str, samples: int, windows: int, seqlen: int
) -> dict[str, Any]:
    """Return the keys of a `searches` entry. Raises PrunebenchError for a space or strategy that is not known."""
    for option, value, known in (("--space", space, ALLOCATORS), ("--strategy", strategy, STRATEGIES)):
        if value not in known:
            raise PrunebenchError(f"{option}: unknown {option[2:]} {value!r}{did_you_mean(value, known)}")
    if strategy == "grid" and space != "slopes":
        raise PrunebenchError("--strategy: grid is for --space slopes, as there are too many functions")
    return {
        "space": space,
        "strategy": strategy,
        "evaluations": evaluations,
        "corpus": corpus,
        "calibration": f"{corpus}_{samples}x{seqlen}",
        "windows": windows,
        "seqlen": seqlen,
    }


def search_job(request: SearchRequest) -> Job:
    """Return the job of a search. Raises PrunebenchError for an unknown model or corpus, or a wrong sparsity."""
    name, entries = model_entry(request.model, stored=request.stored)
    refuse_unknown("corpora", request.options["corpus"])
    search = {
        **request.options,
        "model": name,
        "sparsity": request.sparsity,
        "seeds": [request.seed],
        "compute": request.compute.model_dump(),
    }
    plan = plan_without_study(request.compute, models=entries, searches={_NAME: search})
    return plan.job("search_allocation", search=_NAME, seed=request.seed)


def run_search(job: Job) -> dict[str, Any]:
    """Run the search and return its result (see stages/search_allocation.py).

    The files lie in the cache. A repeated request goes on with a stopped search, and returns the result of a finished
    search at once. Raises PrunebenchError if the search fails.
    """
    root = user_cache() / "searches" / job.spec_hash
    advice = "when it is done, the same command answers at once"
    compute = job.compute
    assert compute is not None  # a search runs the model
    with threads(compute.threads), alone(root, "this search is under way", advice):
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
