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
from prunebench.files import write_json
from prunebench.patterns import parse_pattern


def allocate(spec: str, model: Path, profile: Path | None, allocation: Path) -> None:
    """Write `allocation` for the model asset `model`; `profile` is the file of rule profile, if the allocator wants it.

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
    try:
        part = pruned_part(anatomy, wanted["layers"])
        shares = _allocator(wanted).allocate(part, sparsity)
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


def _allocator(wanted: dict[str, Any]) -> Allocator:
    plugin = registry.load("allocators", wanted["allocator"])
    allocator: Allocator = plugin(plugin.configure(overrides=wanted["params"]))
    return allocator
