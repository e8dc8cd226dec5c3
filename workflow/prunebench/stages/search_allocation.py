"""Stage search_allocation: search for the best allocation with one seed."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from prunebench import registry
from prunebench.assets.corpora import load_split
from prunebench.assets.manifest import read_shape, verified
from prunebench.assets.tokens import check_ids, first_windows, load_tokenizer, of_tokenizer
from prunebench.engine.anatomy import Anatomy
from prunebench.engine.model import StreamedModel
from prunebench.errors import CellFailure
from prunebench.plan.jobs.search import SearchAllocationSpec
from prunebench.runtime.progress import tally
from prunebench.search.fitness import Fitness, MaskedWeights
from prunebench.search.ledger import Ledger
from prunebench.search.strategies import STRATEGIES, Spent
from prunebench.stages.outcome import Outcome
from prunebench.storage import checkpoints
from prunebench.storage.files import sha256_file, write_text
from prunebench.storage.resume import Parts
from prunebench.storage.tensors import storage_dtype

COLUMNS = ("evaluation", "candidate", "status", "value", "reason")


def search_allocation(
    spec: str, *, model: Path, corpus: Path, profile: Path, result: Path, history: Path, measured: Path
) -> str:
    """Search as `spec` says, on the model asset `model` and the tuning split of the asset `corpus`.

    Writes `result` (JSON: the best candidate, the perplexities of that, the dense and the uniform model, and every
    proposal), `history` (CSV: the proposals) and `measured`; returns the headline. The same spec gives the same bits: a
    killed job replays what it had and goes on with the same random numbers.
    """
    settings, outcome = SearchAllocationSpec.model_validate_json(spec), Outcome(spec)
    manifest, text = verified(model, settings.model), verified(corpus, settings.corpus)
    checkpoints.verify(profile, settings.profile)
    outcome.inputs |= {"model": manifest.digest, "corpus": text.digest, "profile": sha256_file(profile)}
    outcome.name_model(manifest)
    parts = Parts(result.with_name(f".{result.stem}.parts"), identity=outcome.identity)
    record = outcome.record
    record |= _search(settings, manifest.directory, text.directory, profile, parts)
    table = io.StringIO()
    pd.DataFrame(record["history"], columns=COLUMNS).to_csv(table, index=False)
    write_text(history, table.getvalue())
    outcome.write(result, measured, resumed=parts.resumed)
    parts.remove()
    if outcome.failure:
        return outcome.failure
    return f"{record['best']['candidate']} at {record['best']['value']:.2f}, uniform {record['uniform']:.2f}"


def _search(
    settings: SearchAllocationSpec, directory: Path, corpus: Path, profile: Path, parts: Parts
) -> dict[str, Any]:
    family = registry.load("models", settings.family)
    anatomy = Anatomy(directory, family, storage_dtype(settings.storage), profile)
    name = f"{corpus.name}: the tuning split"
    documents = load_split(corpus, "tuning")
    windows = first_windows(load_tokenizer(directory), documents, settings.seqlen, settings.windows, name)
    check_ids(windows, read_shape(directory / "config.json").vocabulary, of_tokenizer(directory, name))
    sparsity = float(settings.sparsity)
    books: dict[str, Any] = {"status": "failed", "history": []}
    try:
        # Masks read the norms of the profile, which are not finite where the model overflows.
        weights = MaskedWeights(anatomy)
        streamed = StreamedModel.opened(
            directory, settings.family, dtype=settings.compute.dtype, storage=settings.storage, overrides=weights
        )
        fitness = Fitness(streamed, weights, anatomy, torch.from_numpy(windows), settings.compute.batch_size)
        uniform = fitness.counts(dict.fromkeys(anatomy.sizes, sparsity))
        space = registry.load("search", settings.space)(anatomy, sparsity)
        books["dense"] = parts.get_or("dense", lambda: fitness.perplexity(fitness.counts({})))
        books["uniform"] = parts.get_or("uniform", lambda: fitness.perplexity(uniform))
    except CellFailure as failure:
        return {**books, "reason": f"before any candidate: {failure}"}
    strategy = STRATEGIES[settings.strategy](**settings.strategy_params)
    stopped = "every candidate was tried"
    with tally(settings.evaluations, "evaluation") as report:
        known = {uniform: books["uniform"]}
        ledger = Ledger(space, fitness, parts, evaluations=settings.evaluations, report=report, known=known)
        try:
            strategy.run(space, ledger, random.Random(settings.seed))
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
