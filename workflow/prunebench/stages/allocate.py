"""Stage allocate: how sparse each linear of a model is to be."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from prunebench import registry
from prunebench.allocators.base import check_budget
from prunebench.assets.manifest import load_manifest
from prunebench.canonical import spec_hash
from prunebench.engine.anatomy import Anatomy
from prunebench.errors import CellFailure
from prunebench.files import write_json
from prunebench.patterns import parse_pattern


def allocate(spec: str, model: Path, profile: Path | None, allocation: Path) -> None:
    """Write `allocation` (JSON: status, inputs, sparsities by full linear name) for the model asset `model`.

    `profile` is the file of rule profile, for allocators that look at data.
    """
    wanted = json.loads(spec)
    anatomy = Anatomy(
        load_manifest(model).directory,
        registry.load("models", wanted["family"]),
        getattr(torch, wanted["storage"]),
        profile,
    )
    plugin = registry.load("allocators", wanted["allocator"])
    pattern = parse_pattern(wanted["pattern"])
    sparsity = float(pattern.sparsity) if pattern.structured else float(wanted["sparsity"])
    record: dict[str, Any] = {"spec_hash": spec_hash(spec), "spec": wanted, "inputs": {}}
    if profile:
        with safe_open(profile, framework="pt") as file:
            record["inputs"]["tokens"] = file.metadata()["tokens"]
    try:
        shares = plugin(plugin.configure(overrides=wanted["params"])).allocate(anatomy, sparsity)
        check_budget(shares, anatomy.sizes, sparsity)
        record |= {"status": "ok", "sparsities": shares}
    except CellFailure as failure:
        record |= {"status": "failed", "reason": str(failure)}
    write_json(allocation, record)
