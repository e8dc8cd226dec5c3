"""Stage evaluate: one suite on one cell."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from prunebench import registry
from prunebench.assets.manifest import load_manifest
from prunebench.engine.subject import Subject
from prunebench.errors import CellFailure, PrunebenchError
from prunebench.identity.canonical import canonical, spec_hash
from prunebench.runtime.provenance import Measurement, conditions, version
from prunebench.storage.files import read_json, write_json
from prunebench.storage.resume import Parts
from prunebench.storage.tensors import storage_dtype
from prunebench.suites.base import Suite


def evaluate(
    spec: str,
    *,
    model: Path,
    pruned: Path,
    weights: Path,
    assets: Sequence[Path],
    result: Path,
    measured: Path,
) -> str:
    """Evaluate the pruned `weights` of the model asset `model`; returns the headline number as one line.

    `assets` are the asset.json paths of what the suite reads, in the order of the spec.

    Writes `result` (JSON with scores, the same bits for the same spec) and `measured`. A cell whose pruning failed is
    recorded as failed with that reason.
    """
    wanted = json.loads(spec)
    _check_versions(wanted["versions"])
    measurement = Measurement()
    manifest = load_manifest(model)
    upstream = read_json(pruned)
    arrived = dict(zip(wanted["assets"], map(load_manifest, assets), strict=True))
    inputs = {**upstream["inputs"], **{name: asset.digest for name, asset in arrived.items()}}
    record: dict[str, Any] = {"spec": wanted, "spec_hash": spec_hash(spec), "inputs": inputs}
    plugin = registry.load("suites", wanted["suite"])
    suite: Suite = plugin(plugin.configure(overrides=wanted["params"]))
    parts = Parts(result.with_name(f".{result.stem}.parts"), identity=canonical(record | conditions()))
    try:
        if upstream["status"] != "ok":
            raise CellFailure(f"prune: {upstream['reason']}")
        subject = Subject(
            manifest.directory,
            registry.load("models", wanted["family"]),
            weights,
            dtype=getattr(torch, wanted["compute"]["dtype"]),
            storage=storage_dtype(wanted["storage"]),
            batch_size=wanted["compute"]["batch_size"],
        )
        directories = {name: asset.directory for name, asset in arrived.items()}
        scores = suite.run(subject, directories, parts)
        record |= {"status": "ok", "scores": [asdict(score) for score in scores]}
        headline = suite.headline(scores)
    except CellFailure as failure:
        record |= {"status": "failed", "reason": str(failure), "scores": []}
        headline = f"failed: {failure}"
    measurement.write(measured, resumed=parts.resumed)
    write_json(result, record)
    parts.remove()
    return headline


def _check_versions(expected: dict[str, str | None]) -> None:
    """Snakemake may have been started from another environment than the one that jobs run in."""
    for library, planned in expected.items():
        if version(library) != planned:
            raise PrunebenchError(
                f"this job runs with {library} {version(library) or 'not installed'}, but was planned with "
                f"{planned or 'none'}: install the same version where snakemake is started and where its jobs run"
            )
