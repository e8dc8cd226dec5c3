"""Stage allocate: decide how sparse each linear of a model is to be."""

from pathlib import Path
from typing import Any

import torch

from prunebench import registry
from prunebench.allocators.base import Allocator, check_budget
from prunebench.assets.manifest import verified
from prunebench.assets.tokens import read_tokens
from prunebench.engine.anatomy import Anatomy, RunInputs
from prunebench.errors import CellFailure
from prunebench.identity.canonical import canonical
from prunebench.patterns import parse_pattern
from prunebench.plan.jobs.allocate import AllocateSpec
from prunebench.runtime.provenance import conditions
from prunebench.stages.outcome import Outcome
from prunebench.storage import checkpoints
from prunebench.storage.files import sha256_file
from prunebench.storage.finished_blocks import Scratch
from prunebench.storage.sealed import read_record
from prunebench.storage.tensors import TensorStore, storage_dtype


def allocate(
    spec: str,
    *,
    model: Path,
    allocation: Path,
    measured: Path,
    profile: Path | None = None,
    search: Path | None = None,
    tokens: Path | None = None,
) -> None:
    """Write `allocation` for the model asset `model`, and the cost of making it (JSON) to `measured`.

    Where the allocator needs them, `profile` is the file of rule profile, `search` a result of a search, and `tokens`
    the calibration tokens, for an allocator that runs the model itself.

    `allocation` is JSON: status, inputs, sparsities by full linear name, and the fraction of all weights they zero.
    """
    settings, outcome = AllocateSpec.model_validate_json(spec), Outcome(spec)
    manifest = verified(model, settings.model)
    directory = manifest.directory
    if profile:
        outcome.inputs["tokens"] = checkpoints.verify(profile, settings.profile)["tokens"]
    searched = read_record(search, settings.search) if search else {}
    if search:
        outcome.inputs["search"] = sha256_file(search)
    run = None
    if tokens:
        outcome.inputs["tokens"] = sha256_file(tokens)
        identity = canonical(outcome.record | {"model": manifest.digest} | conditions())
        windows = read_tokens(tokens, settings.tokens)
        run = _run(settings, directory, windows, allocation.with_name(f".{allocation.stem}.parts"), identity)
    family, storage = registry.load("models", settings.family), storage_dtype(settings.storage)
    anatomy = Anatomy(directory, family, storage, profile, run)
    pattern = parse_pattern(settings.pattern)
    sparsity = float(pattern.sparsity) if pattern.structured else float(settings.sparsity)
    with outcome.attempt() as record:
        part = pruned_part(anatomy, settings.layers)
        allocator: Allocator = registry.build("allocators", settings.allocator, settings.params)
        if search:
            record["found"] = _candidate(searched, allocator.place)
            allocator = allocator.with_candidate(record["found"]["candidate"])
        shares = allocator.allocate(part, sparsity)
        check_budget(shares, part.sizes, sparsity)
        record |= {
            "sparsities": dict.fromkeys(anatomy.sizes, 0.0) | shares,
            "whole_model_sparsity": sparsity * (part.prunable_weights / anatomy.prunable_weights),
        }
    outcome.write(allocation, measured, resumed_at=run.scratch.resumed_at if run else 0)
    if run and outcome.failure:
        run.scratch.keep_after_failure()
    elif run:
        run.scratch.remove()


def _run(settings: AllocateSpec, directory: Path, tokens: torch.Tensor, scratch: Path, identity: str) -> RunInputs:
    """Collect what the engine needs. Blocks of a killed job in `scratch` are used if they have this `identity`."""
    storage, compute = storage_dtype(settings.storage), settings.compute
    assert compute is not None  # the specs of allocators that run the model have it
    return RunInputs(
        directory,
        registry.load("models", settings.family),
        storage,
        tokens,
        getattr(torch, compute.dtype),
        compute.batch_size,
        settings.seed,
        Scratch(scratch, TensorStore(directory, storage), identity),
    )


def pruned_part(anatomy: Anatomy, layers: str) -> Anatomy:
    """Select the blocks of `anatomy` that are to be pruned: all, or the first half of them, rounded down.

    Raises CellFailure if the half has no block.
    """
    if layers == "all":
        return anatomy
    if len(anatomy.blocks) < 2:
        raise CellFailure("a model of one block has no first half")
    return anatomy.first(len(anatomy.blocks) // 2)


def _candidate(result: dict[str, Any], place: int) -> dict[str, Any]:
    """Select the candidate at `place` from the result of a search, its value, and the model and sparsity of the search.

    Raises CellFailure if the search failed, or has no candidate at that place.
    """
    if result["status"] != "ok":
        raise CellFailure(f"search: {result['reason']}")
    searched = result.get("searched", result["spec"])
    where = {"model": result["model"]["title"], "sparsity": searched["sparsity"], "spec_hash": result["spec_hash"]}
    return {**(result["best"] if place == 1 else _ranked(result["history"], place)), **where}


def _ranked(history: list[dict[str, Any]], place: int) -> dict[str, Any]:
    """Select the candidate at `place` (1 is the best) among those that the model was run for, and its value."""
    ranked = sorted((entry for entry in history if entry["status"] == "ok"), key=lambda entry: float(entry["value"]))
    if place > len(ranked):
        raise CellFailure(f"search: {len(ranked)} candidates have a value, so none is in place {place}")
    return {key: ranked[place - 1][key] for key in ("candidate", "value")}
