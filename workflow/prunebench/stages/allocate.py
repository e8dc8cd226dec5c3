"""Stage allocate: how sparse each linear of a model is to be."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from prunebench import registry
from prunebench.allocators.base import Allocator, check_budget
from prunebench.assets.manifest import load_manifest
from prunebench.engine.anatomy import Anatomy, RunInputs
from prunebench.errors import CellFailure
from prunebench.identity.canonical import canonical, spec_hash
from prunebench.patterns import parse_pattern
from prunebench.runtime.provenance import Measurement, conditions
from prunebench.storage.files import read_json, sha256_file, write_json
from prunebench.storage.finished_blocks import Scratch
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
    """Write `allocation` for the model asset `model`, and what that cost (JSON) to `measured`.

    Where the allocator wants them, `profile` is the file of rule profile, `search` a result of a search, and `tokens`
    the calibration tokens, for an allocator that runs the model itself.

    JSON: status, inputs, sparsities by full linear name, and what fraction of all weights they make zero.
    """
    measurement = Measurement()
    wanted = json.loads(spec)
    manifest = load_manifest(model)
    record: dict[str, Any] = {"spec_hash": spec_hash(spec), "spec": wanted, "inputs": {}}
    if profile:
        with safe_open(profile, framework="pt") as file:
            record["inputs"]["tokens"] = file.metadata()["tokens"]
    if search:
        record["inputs"]["search"] = sha256_file(search)
    run = None
    if tokens:
        record["inputs"]["tokens"] = sha256_file(tokens)
        identity = canonical(record | {"model": manifest.digest} | conditions())
        run = _run(wanted, manifest.directory, tokens, allocation.with_name(f".{allocation.stem}.parts"), identity)
    family, storage = registry.load("models", wanted["family"]), storage_dtype(wanted["storage"])
    anatomy = Anatomy(manifest.directory, family, storage, profile, run)
    pattern = parse_pattern(wanted["pattern"])
    sparsity = float(pattern.sparsity) if pattern.structured else float(wanted["sparsity"])
    try:
        part = pruned_part(anatomy, wanted["layers"])
        allocator = _allocator(wanted)
        if search:
            record["found"] = _found(search, allocator.place)
            allocator = allocator.with_candidate(record["found"]["candidate"])
        shares = allocator.allocate(part, sparsity)
        check_budget(shares, part.sizes, sparsity)
        record |= {
            "status": "ok",
            "sparsities": dict.fromkeys(anatomy.sizes, 0.0) | shares,
            "whole_model_sparsity": sparsity * (part.prunable_weights / anatomy.prunable_weights),
        }
    except CellFailure as failure:
        record |= {"status": "failed", "reason": str(failure)}
    measurement.write(measured, resumed_at=run.scratch.resumed_at if run else 0)
    write_json(allocation, record)
    if run and record["status"] == "ok":
        run.scratch.remove()
    elif run:
        run.scratch.keep_after_failure()


def _run(wanted: dict[str, Any], directory: Path, tokens: Path, scratch: Path, identity: str) -> RunInputs:
    """What the engine needs; blocks that a killed job left in `scratch` are used if they have this `identity`."""
    storage, compute = storage_dtype(wanted["storage"]), wanted["compute"]
    return RunInputs(
        directory,
        registry.load("models", wanted["family"]),
        storage,
        torch.from_numpy(np.load(tokens, allow_pickle=False)),
        getattr(torch, compute["dtype"]),
        compute["batch_size"],
        wanted["seed"],
        Scratch(scratch, TensorStore(directory, storage), identity),
    )


def pruned_part(anatomy: Anatomy, layers: str) -> Anatomy:
    """The blocks of `anatomy` that are to be pruned: all, or the first half of them, rounded down."""
    if layers == "all":
        return anatomy
    if len(anatomy.blocks) < 2:
        raise CellFailure("a model of one block has no first half")
    return anatomy.first(len(anatomy.blocks) // 2)


def _found(search: Path, place: int) -> dict[str, Any]:
    """What a search has found and where: the candidate, its value there, and the model and sparsity it was found on."""
    result = read_json(search)
    if result["status"] != "ok":
        raise CellFailure(f"search: {result['reason']}")
    searched = result.get("searched", result["spec"])
    where = {"model": result["model"]["title"], "sparsity": searched["sparsity"], "spec_hash": result["spec_hash"]}
    return {**(result["best"] if place == 1 else _in_place(result["history"], place)), **where}


def _in_place(history: list[dict[str, Any]], place: int) -> dict[str, Any]:
    """The candidate at `place` (1 the best) of those that the model was run for, and its value."""
    ranked = sorted((one for one in history if one["status"] == "ok"), key=lambda one: float(one["value"]))
    if place > len(ranked):
        raise CellFailure(f"search: {len(ranked)} candidates have a value, so none is in place {place}")
    return {key: ranked[place - 1][key] for key in ("candidate", "value")}


def _allocator(wanted: dict[str, Any]) -> Allocator:
    plugin = registry.load("allocators", wanted["allocator"])
    allocator: Allocator = plugin(plugin.configure(overrides=wanted["params"]))
    return allocator
