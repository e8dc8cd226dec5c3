"""Stage allocate: how sparse each linear of a model is to be."""

import json
from pathlib import Path

from prunebench import checkpoints, registry
from prunebench.allocators.base import check_budget
from prunebench.assets.manifest import load_manifest
from prunebench.canonical import spec_hash
from prunebench.errors import CellFailure, PrunebenchError
from prunebench.files import write_json
from prunebench.models.base import Family
from prunebench.patterns import parse_pattern


def allocate(spec: str, model: Path, allocation: Path) -> None:
    """Write `allocation` (JSON: status, spec_hash, sparsities by full linear name) for the model asset `model`."""
    wanted = json.loads(spec)
    sizes = linear_sizes(load_manifest(model).directory, registry.load("models", wanted["family"]))
    plugin = registry.load("allocators", wanted["allocator"])
    pattern = parse_pattern(wanted["pattern"])
    sparsity = float(pattern.sparsity) if pattern.structured else float(wanted["sparsity"])
    record = {"spec_hash": spec_hash(spec), "spec": wanted}
    try:
        shares = plugin(plugin.configure(overrides=wanted["params"])).allocate(sizes, sparsity)
        check_budget(shares, sizes, sparsity)
        record |= {"status": "ok", "sparsities": shares}
    except CellFailure as failure:
        record |= {"status": "failed", "reason": str(failure)}
    write_json(allocation, record)


def linear_sizes(directory: Path, family: type[Family]) -> dict[str, tuple[int, int]]:
    """(out, in) of every prunable linear by full name, in the order of the model; reads file headers only."""
    shapes = checkpoints.shapes(directory)
    sizes: dict[str, tuple[int, int]] = {}
    block = 0
    while (first := f"{family.full_name(block, family.linears()[0])}.weight") in shapes:
        for linear in family.linears():
            name = family.full_name(block, linear)
            out, width = shapes[f"{name}.weight"]
            sizes[name] = (out, width)
        block += 1
    if not sizes:
        raise PrunebenchError(f"{directory} has no tensor {first!r}: is its 'family' right?")
    return sizes
