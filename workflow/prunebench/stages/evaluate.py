"""Stage evaluate: one suite on one cell."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from prunebench import registry
from prunebench.assets.manifest import load_manifest
from prunebench.canonical import spec_hash
from prunebench.engine.device import best_device
from prunebench.engine.model import StreamedModel, TensorStore
from prunebench.errors import CellFailure
from prunebench.files import read_json, write_json
from prunebench.provenance import Measurement
from prunebench.suites.base import Suite


def evaluate(
    spec: str,
    *,
    model: Path,
    pruned: Path,
    weights: Path,
    corpora: dict[str, Path],
    result: Path,
    measured: Path,
) -> str:
    """Evaluate the pruned `weights` of the model asset `model`; returns the headline number as one line.

    Writes `result` (JSON with scores, the same bits for the same spec) and `measured`. A cell whose pruning failed is
    recorded as failed with that reason.
    """
    wanted = json.loads(spec)
    measurement = Measurement()
    manifest = load_manifest(model)
    upstream = read_json(pruned)
    inputs = {**upstream["inputs"], **{f"corpus {name}": load_manifest(path).digest for name, path in corpora.items()}}
    record: dict[str, Any] = {"spec": wanted, "spec_hash": spec_hash(spec), "inputs": inputs}
    plugin = registry.load("suites", wanted["suite"])
    suite: Suite = plugin(plugin.configure(overrides=wanted["params"]))
    try:
        if upstream["status"] != "ok":
            raise CellFailure(f"prune: {upstream['reason']}")
        streamed = StreamedModel(
            manifest.directory,
            registry.load("models", wanted["family"]),
            dtype=getattr(torch, wanted["compute"]["dtype"]),
            storage=getattr(torch, wanted["storage"]),
            device=best_device(),
            overrides=TensorStore(weights),
        )
        scores = suite.run(streamed, manifest.directory, corpora, wanted["compute"]["batch_size"])
        record |= {"status": "ok", "scores": [asdict(score) for score in scores]}
        headline = suite.headline(scores)
    except CellFailure as failure:
        record |= {"status": "failed", "reason": str(failure), "scores": []}
        headline = f"failed: {failure}"
    measurement.write(measured)
    write_json(result, record)
    return headline
