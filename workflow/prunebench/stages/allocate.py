"""Stage allocate: how sparse each linear of a model is to be."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from prunebench import registry
from prunebench.allocators.base import Allocator, check_budget
from prunebench.assets.manifest import load_manifest
from prunebench.canonical import spec_hash
from prunebench.engine.anatomy import Anatomy
from prunebench.errors import CellFailure
from prunebench.files import read_json, sha256_file, write_json
from prunebench.patterns import parse_pattern


def allocate(spec: str, model: Path, profile: Path | None, search: Path | None, allocation: Path) -> None:
    """Write `allocation` for the model asset `model`.

    `profile` is the file of rule profile and `search` a result of a search, if the allocator wants them.

    JSON: status, inputs, sparsities by full linear name, and what fraction of all weights they make zero.
    """
    wanted = json.loads(spec)
    anatomy = Anatomy(
        load_manifest(model).directory,
        registry.load("models", wanted["family"]),
        getattr(torch, wanted["storage"]),
        profile,
    )
    pattern = parse_pattern(wanted["pattern"])
    sparsity = float(pattern.sparsity) if pattern.structured else float(wanted["sparsity"])
    record: dict[str, Any] = {"spec_hash": spec_hash(spec), "spec": wanted, "inputs": {}}
    if profile:
        with safe_open(profile, framework="pt") as file:
            record["inputs"]["tokens"] = file.metadata()["tokens"]
    if search:
        record["inputs"]["search"] = sha256_file(search)
    try:
        part = pruned_part(anatomy, wanted["layers"])
        allocator = _allocator(wanted)
        if search:
            found = _found(search)
            record["found"] = found
            allocator = allocator.found(found["candidate"])
        shares = allocator.allocate(part, sparsity)
        check_budget(shares, part.sizes, sparsity)
        record |= {
            "status": "ok",
            "sparsities": dict.fromkeys(anatomy.sizes, 0.0) | shares,
            "whole_model_sparsity": sparsity * (part.prunable_weights / anatomy.prunable_weights),
        }
    except CellFailure as failure:
        record |= {"status": "failed", "reason": str(failure)}
    write_json(allocation, record)


def pruned_part(anatomy: Anatomy, layers: str) -> Anatomy:
    """The blocks of `anatomy` that are to be pruned: all, or the first half of them, rounded down."""
    if layers == "all":
        return anatomy
    if len(anatomy.blocks) < 2:
        raise CellFailure("a model of one block has no first half")
    return anatomy.first(len(anatomy.blocks) // 2)


def _found(search: Path) -> dict[str, Any]:
    """What a search has found and where: the candidate, its value there, and the model and sparsity it was found on."""
    result = read_json(search)
    if result["status"] != "ok":
        raise CellFailure(f"search: {result['reason']}")
    return {**result["best"], "model": result["model"]["title"], "spec_hash": result["spec_hash"]}


def _allocator(wanted: dict[str, Any]) -> Allocator:
    plugin = registry.load("allocators", wanted["allocator"])
    allocator: Allocator = plugin(plugin.configure(overrides=wanted["params"]))
    return allocator
