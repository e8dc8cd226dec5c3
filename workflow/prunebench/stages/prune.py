"""Stage prune: one cell's weights."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prunebench import registry
from prunebench.assets.manifest import load_manifest
from prunebench.engine.contract import Method
from prunebench.engine.loop import prune_model
from prunebench.engine.model import StreamedModel
from prunebench.engine.placement.device import best_device
from prunebench.engine.sparsity import check, totals
from prunebench.errors import CellFailure
from prunebench.identity.canonical import canonical, spec_hash
from prunebench.patterns import parse_pattern
from prunebench.runtime.provenance import Measurement, conditions
from prunebench.storage import checkpoints
from prunebench.storage.files import read_json, sha256_file, write_json
from prunebench.storage.finished_blocks import Scratch
from prunebench.storage.tensors import TensorStore, storage_dtype


def prune(
    spec: str,
    *,
    model: Path,
    tokens: Path | None,
    gradients: Path | None = None,
    allocation: Path,
    assets: Sequence[Path] = (),
    weights: Path,
    result: Path,
    measured: Path,
) -> str:
    """Prune the model asset `model` as `spec` says; returns a one-line summary.

    `gradients` is the file of rule gradients, if the method wants it.
    `assets` are the asset.json paths of what the method reads besides, in the order of the spec.

    Writes `weights` (packed, changed tensors only), `result` (JSON, the same bits for the same spec) and
    `measured` (time, memory, host). A CellFailure is recorded in `result`, with empty `weights`; the blocks that were
    finished before it stay beside the result, and the next run of the same job begins after them.
    """
    wanted = json.loads(spec)
    measurement = Measurement()
    manifest = load_manifest(model)
    arrived = dict(zip(wanted["assets"], map(load_manifest, assets), strict=True))
    allocated = read_json(allocation)
    inputs = {"model": manifest.digest, "allocation": sha256_file(allocation), **allocated["inputs"]}
    inputs |= {name: asset.digest for name, asset in arrived.items()}
    if tokens:
        inputs["tokens"] = sha256_file(tokens)
    if gradients:
        inputs["gradients"] = checkpoints.metadata(gradients)["digest"]
    record: dict[str, Any] = {
        "spec": wanted,
        "spec_hash": spec_hash(spec),
        "model": {"title": manifest.title, "source": manifest.source.model_dump(mode="json")},
        "inputs": inputs,
    }
    # Beside the outputs but not one of them: Snakemake deletes those when a job fails.
    base = TensorStore(manifest.directory, storage_dtype(wanted["storage"]))
    work = Scratch(result.parent / ".blocks", base, identity=canonical(record | conditions()))
    try:
        directories = {name: asset.directory for name, asset in arrived.items()}
        if allocated["status"] != "ok":
            raise CellFailure(f"allocation: {allocated['reason']}")
        blocks = _prune_blocks(
            wanted, manifest.directory, tokens, gradients, allocated["sparsities"], directories, work
        )
        method = _method(wanted)
        target = allocated["whole_model_sparsity"] if "sparsity" in method.uses else None
        record |= {"status": "ok", **summarise(blocks, target, exact=method.exact), "blocks": blocks}
        work.merge(len(blocks), weights)
        outcome = f"sparsity {record['achieved_sparsity']:.4f}{_beyond(record)}"
    except CellFailure as failure:
        record |= {"status": "failed", "reason": str(failure)}
        checkpoints.merge([], weights)
        outcome = f"failed: {failure}"
    measurement.write(measured, resumed_at=work.resumed_at)
    write_json(result, record)
    if record["status"] == "ok":
        work.remove()
    else:
        work.keep_after_failure()
    return outcome


def _beyond(record: dict[str, Any]) -> str:
    """The part of the sparsity that nobody asked for, in words; empty if there is none."""
    share = record["zeros_beyond_target"] / record["prunable_weights"]
    return f", {share:.4f} of it zero before pruning where fewer zeros were asked for" if share else ""


def _prune_blocks(
    wanted: dict[str, Any],
    directory: Path,
    tokens: Path | None,
    gradients: Path | None,
    allocation: dict[str, float],
    assets: dict[str, Path],
    scratch: Scratch,
) -> list[dict[str, Any]]:
    # Without calibration nothing is computed but scores of weights, so the storage dtype is the dtype.
    compute = wanted["compute"] or {"dtype": wanted["storage"], "batch_size": 1}
    streamed = StreamedModel(
        directory,
        registry.load("models", wanted["family"]),
        dtype=storage_dtype(compute["dtype"]),
        storage=storage_dtype(wanted["storage"]),
        device=best_device(),
    )
    return prune_model(
        streamed,
        _method(wanted),
        allocation,
        parse_pattern(wanted["pattern"]),
        torch.from_numpy(np.load(tokens, allow_pickle=False)) if tokens else None,
        scratch,
        batch_size=compute["batch_size"],
        seed=wanted["seed"],
        gradients=TensorStore(gradients) if gradients else None,
        assets=assets,
    )


def _method(wanted: dict[str, Any]) -> Method:
    plugin = registry.load("methods", wanted["method"])
    method: Method = plugin(plugin.configure(overrides=wanted["params"]))
    return method


def summarise(blocks: list[dict[str, Any]], target: float | None, *, exact: bool = True) -> dict[str, Any]:
    """Whole-model sparsity from the block records; CellFailure if it misses `target` (see `engine.sparsity.check`).

    `target` is None if the method takes no orders. Zeros that the model had before pruning count as zeros.
    """
    counts = totals(linear for block in blocks for linear in block["linears"].values())
    if target is not None:
        check(counts, target, exact=exact)
    return {
        "achieved_sparsity": counts["zeros"] / counts["weights"],
        "target_sparsity": target,
        "already_zero": counts["already_zero"],
        "zeros_beyond_target": counts["zeros_beyond_target"],
        "prunable_weights": counts["weights"],
    }
