"""Stage search_allocation: the best allocation that one seed of a search finds."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from prunebench import registry
from prunebench.assets.corpora import load_split
from prunebench.assets.manifest import load_manifest
from prunebench.assets.tokens import first_windows, load_tokenizer
from prunebench.canonical import canonical, spec_hash
from prunebench.engine.anatomy import Anatomy
from prunebench.engine.device import best_device
from prunebench.engine.model import StreamedModel
from prunebench.engine.progress import tally
from prunebench.errors import CellFailure
from prunebench.files import sha256_file, write_json, write_text
from prunebench.partial import Parts
from prunebench.provenance import Measurement, conditions
from prunebench.search.fitness import Fitness, MaskedWeights
from prunebench.search.ledger import Ledger
from prunebench.search.spaces import SPACES
from prunebench.search.strategies import STRATEGIES, Spent

COLUMNS = ("evaluation", "candidate", "status", "value", "reason")


def search_allocation(
    spec: str, *, model: Path, corpus: Path, profile: Path, result: Path, history: Path, measured: Path
) -> str:
    """Search as `spec` says, on the model asset `model` and the tuning split of the asset `corpus`; the headline.

    Writes `result` (JSON: the best candidate, its perplexity and those of the dense and the uniform model, and every
    proposal), `history` (CSV: the proposals) and `measured`. The same spec gives the same bits; a killed job replays
    what it had and goes on with the same random numbers.
    """
    measurement = Measurement()
    wanted = json.loads(spec)
    manifest, text = load_manifest(model), load_manifest(corpus)
    record: dict[str, Any] = {
        "spec_hash": spec_hash(spec),
        "spec": wanted,
        "model": {"title": manifest.title, "source": manifest.source.model_dump(mode="json")},
        "inputs": {"model": manifest.digest, "corpus": text.digest, "profile": sha256_file(profile)},
    }
    parts = Parts(result.with_name(f".{result.stem}.parts"), identity=canonical(record | conditions()))
    try:
        outcome = _search(wanted, manifest.directory, text.directory, profile, parts)
        record |= {"status": "ok", **outcome}
        headline = f"{outcome['best']['candidate']} at {outcome['best']['value']:.2f}, uniform {outcome['uniform']:.2f}"
    except CellFailure as failure:
        record |= {"status": "failed", "reason": str(failure), "history": []}
        headline = f"failed: {failure}"
    measurement.write(measured, resumed=parts.resumed)
    table = io.StringIO()
    pd.DataFrame(record["history"], columns=COLUMNS).to_csv(table, index=False)
    write_text(history, table.getvalue())
    write_json(result, record)
    parts.remove()
    return headline


def _search(wanted: dict[str, Any], directory: Path, corpus: Path, profile: Path, parts: Parts) -> dict[str, Any]:
    storage = getattr(torch, wanted["storage"])
    family = registry.load("models", wanted["family"])
    anatomy = Anatomy(directory, family, storage, profile)
    windows = first_windows(
        load_tokenizer(directory),
        load_split(corpus, "tuning"),
        wanted["seqlen"],
        wanted["windows"],
        f"{corpus.name}: the tuning split",
    )
    weights = MaskedWeights(anatomy)
    streamed = StreamedModel(
        directory,
        family,
        dtype=getattr(torch, wanted["compute"]["dtype"]),
        storage=storage,
        device=best_device(),
        overrides=weights,
    )
    fitness = Fitness(streamed, weights, anatomy, torch.from_numpy(windows), wanted["compute"]["batch_size"])
    sparsity = float(wanted["sparsity"])
    uniform = fitness.counts(dict.fromkeys(anatomy.sizes, sparsity))
    space = SPACES[wanted["space"]](anatomy, sparsity)
    levels = {
        "dense": parts.get_or("dense", lambda: fitness.perplexity(fitness.counts({}))),
        "uniform": parts.get_or("uniform", lambda: fitness.perplexity(uniform)),
    }
    strategy = STRATEGIES[wanted["strategy"]](**wanted["strategy_params"])
    stopped = "every candidate was tried"
    with tally(wanted["evaluations"], "evaluation") as report:
        ledger = Ledger(space, fitness, parts, evaluations=wanted["evaluations"], report=report)
        try:
            strategy.run(space, ledger, random.Random(wanted["seed"]))
        except Spent as end:
            stopped = str(end)
    if ledger.best is None:
        raise CellFailure(f"none of {len(ledger.history)} candidates gave a model that works ({stopped})")
    best = {"candidate": str(ledger.best.candidate), "value": ledger.best.value}
    return {
        **levels,
        "best": best,
        "evaluations": ledger.evaluations,
        "rejected": ledger.rejected,
        "stopped": stopped,
        "history": ledger.history,
    }
