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
from prunebench.assets.manifest import load_manifest, read_shape
from prunebench.assets.tokens import check_ids, first_windows, load_tokenizer, of_tokenizer
from prunebench.engine.anatomy import Anatomy
from prunebench.engine.model import StreamedModel
from prunebench.engine.placement.device import best_device
from prunebench.errors import CellFailure
from prunebench.identity.canonical import canonical, spec_hash
from prunebench.runtime.progress import tally
from prunebench.runtime.provenance import Measurement, conditions
from prunebench.search.fitness import Fitness, MaskedWeights
from prunebench.search.ledger import Ledger
from prunebench.search.strategies import STRATEGIES, Spent
from prunebench.storage.files import sha256_file, write_json, write_text
from prunebench.storage.resume import Parts
from prunebench.storage.tensors import storage_dtype

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
    found = _search(wanted, manifest.directory, text.directory, profile, parts)
    record |= found
    measurement.write(measured, resumed=parts.resumed)
    table = io.StringIO()
    pd.DataFrame(record["history"], columns=COLUMNS).to_csv(table, index=False)
    write_text(history, table.getvalue())
    write_json(result, record)
    parts.remove()
    if record["status"] != "ok":
        return f"failed: {record['reason']}"
    return f"{record['best']['candidate']} at {record['best']['value']:.2f}, uniform {record['uniform']:.2f}"


def _search(wanted: dict[str, Any], directory: Path, corpus: Path, profile: Path, parts: Parts) -> dict[str, Any]:
    storage = storage_dtype(wanted["storage"])
    family = registry.load("models", wanted["family"])
    anatomy = Anatomy(directory, family, storage, profile)
    name = f"{corpus.name}: the tuning split"
    documents = load_split(corpus, "tuning")
    windows = first_windows(load_tokenizer(directory), documents, wanted["seqlen"], wanted["windows"], name)
    check_ids(windows, read_shape(directory / "config.json").vocabulary, of_tokenizer(directory, name))
    sparsity = float(wanted["sparsity"])
    books: dict[str, Any] = {"status": "failed", "history": []}
    try:
        # Masks read the norms of the profile, which are not finite where the model overflows.
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
        uniform = fitness.counts(dict.fromkeys(anatomy.sizes, sparsity))
        space = registry.load("search", wanted["space"])(anatomy, sparsity)
        books["dense"] = parts.get_or("dense", lambda: fitness.perplexity(fitness.counts({})))
        books["uniform"] = parts.get_or("uniform", lambda: fitness.perplexity(uniform))
    except CellFailure as failure:
        return {**books, "reason": f"before any candidate: {failure}"}
    strategy = STRATEGIES[wanted["strategy"]](**wanted["strategy_params"])
    stopped = "every candidate was tried"
    with tally(wanted["evaluations"], "evaluation") as report:
        known = {uniform: books["uniform"]}
        ledger = Ledger(space, fitness, parts, evaluations=wanted["evaluations"], report=report, known=known)
        try:
            strategy.run(space, ledger, random.Random(wanted["seed"]))
        except Spent as end:
            stopped = str(end)
    books |= {
        "evaluations": ledger.evaluations,
        "rejected": ledger.rejected,
        "stopped": stopped,
        "history": ledger.history,
    }
    if ledger.best is None:
        reason = f"none of {len(ledger.history)} candidates gave a model that works ({stopped})"
        return {**books, "reason": reason}
    return {**books, "status": "ok", "best": {"candidate": str(ledger.best.candidate), "value": ledger.best.value}}
