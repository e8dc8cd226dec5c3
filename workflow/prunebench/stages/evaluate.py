"""Stage evaluate: measure one suite on one cell."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from prunebench import registry
from prunebench.assets.manifest import verified
from prunebench.engine.subject import Subject
from prunebench.errors import CellFailure, PrunebenchError
from prunebench.plan.jobs.evaluate import EvaluateSpec
from prunebench.runtime.provenance import refuse_other_versions
from prunebench.stages.outcome import Outcome
from prunebench.storage import checkpoints
from prunebench.storage.resume import Parts
from prunebench.storage.sealed import read_record
from prunebench.storage.tensors import storage_dtype
from prunebench.suites.base import Score, Suite
from prunebench.suites.metrics import metric


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
    settings, outcome = EvaluateSpec.model_validate_json(spec), Outcome(spec)
    refuse_other_versions(settings.versions)
    manifest, upstream = verified(model), read_record(pruned, settings.prune)
    checkpoints.verify_weights(weights, upstream)
    if upstream["inputs"]["model"] != manifest.digest:
        raise PrunebenchError(f"{pruned} was made from another model than {model} describes: run snakemake again")
    arrived = {
        name: verified(path, made_from) for (name, made_from), path in zip(settings.assets.items(), assets, strict=True)
    }
    outcome.inputs |= {**upstream["inputs"], **{name: asset.digest for name, asset in arrived.items()}}
    suite: Suite = registry.build("suites", settings.suite, settings.params)
    parts = Parts(result.with_name(f".{result.stem}.parts"), identity=outcome.identity)
    scores: list[Score] = []
    outcome.record["scores"] = []
    with outcome.attempt() as record:
        if upstream["status"] != "ok":
            raise CellFailure(f"prune: {upstream['reason']}")
        subject = Subject(
            manifest.directory,
            registry.load("models", settings.family),
            weights,
            dtype=getattr(torch, settings.compute.dtype),
            storage=storage_dtype(settings.storage),
            batch_size=settings.compute.batch_size,
        )
        directories = {name: asset.directory for name, asset in arrived.items()}
        scores = suite.run(subject, directories, parts)
        record["scores"] = [asdict(score) for score in scores if not metric(score.metric).clocked]
    # Times and memory differ from run to run, so they are no part of the result.
    clocked = [asdict(score) for score in scores if metric(score.metric).clocked]
    outcome.write(result, measured, resumed=parts.resumed, **({"scores": clocked} if clocked else {}))
    parts.remove()
    return outcome.failure or suite.headline(scores)
