"""Stage prune: make the weights of one cell."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prunebench import registry
from prunebench.assets.manifest import verified
from prunebench.assets.tokens import read_tokens
from prunebench.engine.contract import Method
from prunebench.engine.loop import prune_model
from prunebench.engine.model import StreamedModel
from prunebench.engine.sparsity import check, totals
from prunebench.errors import CellFailure
from prunebench.patterns import parse_pattern
from prunebench.plan import paths
from prunebench.plan.jobs.prune import PruneSpec
from prunebench.stages.outcome import Outcome
from prunebench.storage import checkpoints
from prunebench.storage.files import sha256_file
from prunebench.storage.finished_blocks import Scratch
from prunebench.storage.sealed import read_record
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

    `gradients` is the file of rule gradients, if the method needs it.
    `assets` are the asset.json paths of other assets that the method reads, in the order of the spec.

    Writes `weights` (packed, changed tensors only), `result` (JSON, the same bits for the same spec) and
    `measured` (time, memory, host). A CellFailure is recorded in `result`, with empty `weights`; the blocks that were
    finished before it stay beside the result, and the next run of the same job begins after them.
    """
    settings, outcome = PruneSpec.model_validate_json(spec), Outcome(spec)
    manifest, allocated = verified(model, settings.model), read_record(allocation, settings.allocation)
    arrived = {
        name: verified(path, made_from) for (name, made_from), path in zip(settings.assets.items(), assets, strict=True)
    }
    outcome.inputs |= {"model": manifest.digest, "allocation": sha256_file(allocation), **allocated["inputs"]}
    outcome.inputs |= {name: asset.digest for name, asset in arrived.items()}
    windows = read_tokens(tokens, settings.tokens) if tokens else None
    if tokens:
        outcome.inputs["tokens"] = sha256_file(tokens)
    if gradients:
        checkpoints.verify(gradients, settings.gradients)
        outcome.inputs["gradients"] = checkpoints.digest(gradients)
    outcome.name_model(manifest)
    # The scratch folder is beside the outputs and not one of them: Snakemake deletes outputs when a job fails.
    base = TensorStore(manifest.directory, storage_dtype(settings.storage))
    work = Scratch(result.parent / paths.BLOCKS, base, identity=outcome.identity)
    with outcome.attempt() as record:
        directories = {name: asset.directory for name, asset in arrived.items()}
        if allocated["status"] != "ok":
            raise CellFailure(f"allocation: {allocated['reason']}")
        method: Method = registry.build("methods", settings.method, settings.params)
        # Where no forward pass is made, scores have the dtype of the weights.
        dtype = settings.compute.dtype if settings.compute else settings.storage
        blocks = prune_model(
            StreamedModel.opened(manifest.directory, settings.family, dtype=dtype, storage=settings.storage),
            method,
            allocated["sparsities"],
            parse_pattern(settings.pattern),
            windows,
            work,
            batch_size=settings.compute.batch_size if settings.compute else 1,
            seed=settings.seed,
            gradients=TensorStore(gradients) if gradients else None,
            assets=directories,
        )
        target = allocated["whole_model_sparsity"] if "sparsity" in method.uses else None
        record |= {**summarise(blocks, target, exact=method.exact), "blocks": blocks}
    work.merge(0 if outcome.failure else len(blocks), weights)
    outcome.record["weights"] = checkpoints.digest(weights)
    outcome.write(result, measured, resumed_at=work.resumed_at)
    if outcome.failure:
        work.keep_after_failure()
    else:
        work.remove()
    return outcome.failure or f"sparsity {record['achieved_sparsity']:.4f}{_beyond(record)}"


def _beyond(record: dict[str, Any]) -> str:
    """Put the part of the sparsity that nobody asked for into words; the text is empty if there is none."""
    share = record["zeros_beyond_target"] / record["prunable_weights"]
    return f", {share:.4f} of it zero before pruning where fewer zeros were asked for" if share else ""


def summarise(blocks: list[dict[str, Any]], target: float | None, *, exact: bool = True) -> dict[str, Any]:
    """Compute the whole-model sparsity from the block records.

    `target` is None if the method takes no orders. Zeros that the model had before pruning count as zeros. Raises
    CellFailure if the sparsity misses `target` (see `engine.sparsity.check`).
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
