"""A search for an allocation of one model, by the stage of the DAG."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunebench import registry
from prunebench.assets.manifest import load_manifest, write_manifest
from prunebench.cell import Cell
from prunebench.errors import PrunebenchError
from prunebench.identity.canonical import canonical, spec_hash
from prunebench.plan import paths
from prunebench.plan.plan import Plan, load_plan
from prunebench.runtime.provenance import conditions
from prunebench.stages.search_allocation import search_allocation
from prunebench.standalone.assets import arrive, cache, resolved
from prunebench.standalone.request import CATALOG, Compute, catalog, model_entry
from prunebench.standalone.run import calibration_text, draw_tokens, profile_of, threads
from prunebench.storage.files import read_json, sha256_file
from prunebench.storage.locks import alone
from prunebench.storage.resume import claim

_NAME = "request"


@dataclass(frozen=True)
class SearchRequest:
    """One model whose allocation is to be searched. `options` are keys of a catalog entry of searches."""

    model: str
    sparsity: float
    seed: int
    options: dict[str, Any]
    compute: Compute


def run_search(request: SearchRequest) -> dict[str, Any]:
    """The result of the search (see stages/search_allocation.py).

    Lies in the cache, so that the same request goes on where it was stopped, and is answered at once when it is done.
    """
    name, entries = model_entry(request.model)
    if request.options["corpus"] not in (known := catalog("corpora")):
        wanted = request.options["corpus"]
        raise PrunebenchError(f"--corpus: unknown corpus {wanted!r}{registry.did_you_mean(wanted, known)}")
    search = {
        **request.options,
        "model": name,
        "sparsity": request.sparsity,
        "seeds": [request.seed],
        "compute": request.compute.entry,
    }
    raw = {
        # Every config has a study; this one is never run.
        "studies": {_NAME: {"suites": "ppl", "grid": [{"model": name, "method": "dense"}]}},
        "models": entries,
        "searches": {_NAME: search},
        "compute": request.compute.entry,
    }
    plan = load_plan(raw, "command line", CATALOG)
    spec = plan.specs.search(_NAME, request.seed)
    root = cache() / "searches" / spec_hash(spec)
    advice = "when it is done, the same command answers at once"
    with threads(request.compute.threads), alone(root, "this search is under way", advice):
        return _run(plan, request.seed, spec, root)


def _run(plan: Plan, seed: int, spec: str, root: Path) -> dict[str, Any]:
    search, specs = plan.config.searches[_NAME], plan.specs
    drawn = Cell(search.model, "", "", "unstructured", search.sparsity, search.calibration, search.calibration_seed)
    model = root / paths.MODEL.format(model=search.model)
    here = arrive(plan.config, specs, f"models/{search.model}", root)
    write_manifest(resolved(here, plan.config.models[search.model].title), model.parent)
    corpus = arrive(plan.config, specs, f"corpora/{search.corpus}", root)
    tokens = draw_tokens(specs, drawn, calibration_text(plan.config, specs, drawn, root), root)
    digests = [load_manifest(path).digest for path in (model, corpus)] + [sha256_file(tokens)]
    claim(root / "results", canonical([spec, *digests, conditions()]))
    profile = profile_of(specs, drawn, root, tokens)
    result, history, measured = (
        root / pattern.format(search=_NAME, seed=seed)
        for pattern in (paths.SEARCH, paths.SEARCH_HISTORY, paths.SEARCH_MEASURED)
    )
    if not result.exists():
        search_allocation(
            spec, model=model, corpus=corpus, profile=profile, result=result, history=history, measured=measured
        )
    record: dict[str, Any] = read_json(result)
    if record["status"] != "ok":
        raise PrunebenchError(f"the search found nothing: {record['reason']}")
    return record
