"""A finished study of any size, whose results are made up: every job has a result in the form that its stage writes.

No model runs. The numbers follow from the names of the jobs, so that equal studies have equal results.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

from prunebench.assets.manifest import FileRecord, Manifest, load_manifest, write_manifest
from prunebench.cell import Cell
from prunebench.plan.graph import ordered
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan
from prunebench.runtime.provenance import Measurement
from prunebench.stages.outcome import Outcome
from prunebench.storage.files import sha256_file, write_text

BLOCKS = 30
LINEARS = {
    "self_attn.q_proj": 331_776,
    "self_attn.k_proj": 110_592,
    "self_attn.v_proj": 110_592,
    "self_attn.o_proj": 331_776,
    "mlp.gate_proj": 884_736,
    "mlp.up_proj": 884_736,
    "mlp.down_proj": 884_736,
}
"""The weights of the linears of a block, as in SmolLM2-135M, whose number of blocks is BLOCKS."""
WINDOWS = 40
METHODS, ALLOCATORS, SPARSITIES = ("wanda", "sparsegpt", "ria"), ("uniform", "owl"), 25
DRAW = len(METHODS) * len(ALLOCATORS) * SPARSITIES
"""The number of cells for each draw of text."""
CALIBRATION = "text_16x512"

_PACKAGE = {
    "kind": "package",
    "package": "some-model",
    "version": "1.0",
    "file": "some_model-1.0-py3-none-any.whl",
    "sha256": "0" * 64,
    "members": ["some_model/model.safetensors"],
}


def config(cells: int) -> dict[str, Any]:
    """Make the config of a study of `cells` cells, a multiple of DRAW, and of the dense cell."""
    draws, rest = divmod(cells, DRAW)
    if rest or not draws:
        raise ValueError(f"{cells} cells are no multiple of {DRAW}")
    row = {
        "method": [*METHODS],
        "allocator": [*ALLOCATORS],
        "sparsity": [(40 + percent) / 100 for percent in range(SPARSITIES)],
        "seed": list(range(draws)),
    }
    shape = {"blocks": BLOCKS, "hidden": 576, "ffn": 1536, "attention": 576, "vocabulary": 49152}
    suite = {"suite": "perplexity", "params": {"corpora": ["text"], "seqlen": 512, "windows": WINDOWS}}
    return {
        "studies": {
            "large": {
                "suites": ["ppl_made_up"],
                "defaults": {"model": "made_up", "calibration": CALIBRATION},
                "grid": [{"method": "dense"}, row],
            }
        },
        "models": {"made_up": {"title": "Made up", "family": "llama", "source": _PACKAGE, "shape": shape}},
        "corpora": {"text": {"title": "Text", "source": _PACKAGE, "documents": "lines"}},
        "suites": {"ppl_made_up": suite},
    }


def finish(plan: Plan) -> None:
    """Write the results of all evaluations of `plan`, and of the jobs that they rest on, in the working directory."""
    for job in ordered(plan.job("evaluate", **wildcards) for wildcards in plan.evaluations):
        write = {"prune": _prune, "allocate": _allocate, "evaluate": _evaluate}.get(job.rule, _files)
        for output in job.outputs:
            output.parent.mkdir(parents=True, exist_ok=True)
        write(job)


def _files(job: Job) -> None:
    """Write the asset of a fetching job; of other jobs what they cost, and a line into files that nobody reads here."""
    for output in () if job.asset else job.outputs:
        if output.name.endswith(".measured.json"):
            Measurement().write(output)
        else:
            write_text(output, f"{job}\n")
    if job.asset:
        kind, name = job.asset.split("/")
        directory, entry = job.outputs[0].parent, getattr(job.config, kind)[name]
        write_text(directory / "content", f"{job}\n")
        record = FileRecord(bytes=len(f"{job}\n"), sha256=sha256_file(directory / "content"))
        shape = getattr(entry, "shape", None)
        described = {"title": name, "directory": Path("."), "files": {"content": record}, "source": entry.source}
        write_manifest(Manifest(spec_hash=job.spec_hash, shape=shape, **described), directory)


def _allocate(job: Job) -> None:
    outcome = Outcome(job.spec, _digests(job, "profile", "tokens"))
    share = _share(job.cell)
    with outcome.attempt() as record:
        names = [f"model.layers.{block}.{name}" for block in range(BLOCKS) for name in LINEARS]
        record |= {"sparsities": dict.fromkeys(names, share), "whole_model_sparsity": share}
    outcome.write(job.outputs[0], job.outputs[1], resumed_at=0)


def _prune(job: Job) -> None:
    outcome = Outcome(job.spec, {name: _digest(output) for name, output in job.recorded.items()})
    share, error = _share(job.cell), 0.01 + _number(job) / 10
    write_text(job.outputs[2], f"{job}\n")
    with outcome.attempt() as record:
        outcome.name_model(load_manifest(Path(str(job.input("model")))))
        blocks = [
            {
                "linears": {
                    f"model.layers.{block}.{name}": {
                        "weights": weights,
                        "inputs": 576,
                        "zeros": round(share * weights),
                        "already_zero": 0,
                        "zeros_beyond_target": 0,
                        "reconstruction_error": error * math.sqrt(1 + block + place / 10),
                    }
                    for place, (name, weights) in enumerate(LINEARS.items())
                }
            }
            for block in range(BLOCKS)
        ]
        weights = BLOCKS * sum(LINEARS.values())
        record |= {"achieved_sparsity": share, "target_sparsity": share, "already_zero": 0}
        record |= {"zeros_beyond_target": 0, "prunable_weights": weights, "blocks": blocks}
    outcome.write(job.outputs[0], job.outputs[1], resumed_at=0)


def _evaluate(job: Job) -> None:
    outcome = Outcome(job.spec, {name: _digest(output) for name, output in job.recorded.items()})
    level = 3 + 2 * _share(job.cell) ** 4 + _number(job)
    losses = [level + math.sin(window) for window in range(WINDOWS)]
    with outcome.attempt() as record:
        value = math.exp(math.fsum(losses) / WINDOWS)
        score = {"task": "text", "metric": "perplexity", "value": value, "stderr": value / 50, "n": WINDOWS}
        record["scores"] = [{**score, "details": {"bos": False, "window_losses": losses}}]
    outcome.write(job.outputs[0], job.outputs[1], resumed=0)


def _digests(job: Job, *names: str) -> dict[str, str]:
    """Compute the digest of the tokens if one of the inputs `names`, which are made from them, is there."""
    calibrated = any(job.needs[name] for name in names)
    tokens = job.plan.job("calibrate", **job.wildcards).output() if calibrated else None
    return {"tokens": _digest(tokens)} if tokens else {}


def _digest(output: Any) -> str:
    path = Path(output.path)
    return load_manifest(path).digest if output.name == "asset" else sha256_file(path)


def _share(point: Cell) -> float:
    return float(point.sparsity)


def _number(job: Job) -> float:
    """Make a number from 0 to 1 that follows from the name of the job."""
    return hashlib.sha256(str(job).encode()).digest()[0] / 255
