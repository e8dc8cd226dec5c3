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
from prunebench.canonical import canonical, spec_hash
from prunebench.engine.anatomy import Anatomy, Run
from prunebench.engine.scratch import Scratch
from prunebench.engine.stores import TensorStore
from prunebench.errors import CellFailure
from prunebench.files import sha256_file, write_json
from prunebench.patterns import parse_pattern
from prunebench.provenance import conditions


def allocate(spec: str, model: Path, profile: Path | None, allocation: Path, tokens: Path | None = None) -> None:
    """Write `allocation` for the model asset `model`; `profile` is the file of rule profile, if the allocator wants it.

    `tokens` are the calibration tokens, for an allocator that runs the model itself.

    JSON: status, inputs, sparsities by full linear name, and what fraction of all weights they make zero.
    """
    wanted = json.loads(spec)
    manifest = load_manifest(model)
    record: dict[str, Any] = {"spec_hash": spec_hash(spec), "spec": wanted, "inputs": {}}
    if profile:
        with safe_open(profile, framework="pt") as file:
            record["inputs"]["tokens"] = file.metadata()["tokens"]
    run = None
    if tokens:
        record["inputs"]["tokens"] = sha256_file(tokens)
        identity = canonical(record | {"model": manifest.digest} | conditions())
        run = _run(wanted, manifest.directory, tokens, allocation.with_name(f".{allocation.stem}.parts"), identity)
    family, storage = registry.load("models", wanted["family"]), getattr(torch, wanted["storage"])
    anatomy = Anatomy(manifest.directory, family, storage, profile, run)
    pattern = parse_pattern(wanted["pattern"])
    sparsity = float(pattern.sparsity) if pattern.structured else float(wanted["sparsity"])
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
    if run:
        run.scratch.remove()


def _run(wanted: dict[str, Any], directory: Path, tokens: Path, scratch: Path, identity: str) -> Run:
    """What the engine needs; blocks that a killed job left in `scratch` are used if they have this `identity`."""
    storage, compute = getattr(torch, wanted["storage"]), wanted["compute"]
    return Run(
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


def _allocator(wanted: dict[str, Any]) -> Allocator:
    plugin = registry.load("allocators", wanted["allocator"])
    allocator: Allocator = plugin(plugin.configure(overrides=wanted["params"]))
    return allocator
