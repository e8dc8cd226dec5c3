"""One cell from its model to a `from_pretrained` directory, by the stages of the DAG."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from prunebench import paths
from prunebench.assets.manifest import load_manifest, write_manifest
from prunebench.canonical import canonical
from prunebench.cells import Cell, allocation_form, reads_profile, runs_model
from prunebench.config import calibration_corpus, configured
from prunebench.errors import PrunebenchError
from prunebench.export import export, refuse_to_overwrite
from prunebench.files import read_json, sha256_file
from prunebench.partial import claim
from prunebench.provenance import conditions
from prunebench.single.assets import arrive, cache, resolved
from prunebench.single.request import PROJECT, Request, Work, work
from prunebench.stages.allocate import allocate
from prunebench.stages.calibrate import calibrate
from prunebench.stages.profile import profile
from prunebench.stages.prune import prune

log = logging.getLogger("prunebench")


def prune_to(request: Request, destination: Path, *, force: bool = False) -> dict[str, Any]:
    """Prune a model and write it to the directory `destination`; returns what its prunebench.json says.

    Unfinished work lies beside `destination`: the same request goes on from there. Raises PrunebenchError for a
    request that cannot be met, before work starts, and for a model that could not be pruned.
    """
    wanted = work(request)
    destination = destination.resolve()
    given = [Path(request.model), *([request.tokens] if request.tokens else [])]
    precious = [path.resolve() for path in (*given, PROJECT, cache()) if path.exists()]
    refuse_to_overwrite(destination, force=force, precious=tuple(precious))
    root = destination.with_name(f".{destination.name}.prune.part")
    with threads(request.compute.threads):
        cell = _prune(wanted, root)
    record = export(str(cell), destination, force=force)
    shutil.rmtree(root)
    return record


@contextmanager
def threads(count: int) -> Iterator[None]:
    """PyTorch's threads for as long as the context lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _prune(wanted: Work, root: Path) -> Path:
    """Run the stages of one cell below the directory `root`; the cell's directory."""
    cell, specs, config = wanted.cell, wanted.specs, wanted.config

    def place(pattern: str, of: Cell = cell) -> Path:
        return root / pattern.format(**of.wildcards)

    model = place(paths.MODEL)
    log.info("model %s", config.models[cell.model].title)
    write_manifest(resolved(arrive(config, specs, f"models/{cell.model}", root)), model.parent)
    others = configured("methods", config.methods[cell.method]).assets
    assets = [arrive(config, specs, asset, root) for asset in sorted(others)]
    tokens = _tokens(wanted, root, model)
    digests = [load_manifest(path).digest for path in (model, *assets)] + [sha256_file(tokens) if tokens else None]
    claim(root / "results", canonical([specs.prune(cell), *digests, conditions()]))
    point = allocation_form(config, cell)
    measured = place(paths.PROFILE, point) if reads_profile(config, point) else None
    if measured and tokens and not measured.exists():
        log.info("profile: statistics of the dense model")
        spec = specs.profile(point.model, point.calibration, point.seed)
        times = place(paths.PROFILE_MEASURED, point)
        profile(spec, model=model, tokens=tokens, profile=measured, measured=times)
    allocation = place(paths.ALLOCATION, point)
    if not allocation.exists():
        seen = tokens if runs_model(config, point) else None
        if seen:
            log.info("allocate: %s, by a run of the model", cell.allocator)
        allocate(specs.allocation(point), model, measured, allocation, seen)
    result = place(paths.PRUNED)
    if not result.exists():
        uses = "calibration" in configured("methods", config.methods[cell.method]).uses
        log.info("prune: %s", ", ".join(filter(None, [config.methods[cell.method].method, cell.allocator, cell.point])))
        prune(
            specs.prune(cell),
            model=model,
            tokens=tokens if uses else None,
            allocation=allocation,
            assets=assets,
            weights=place(paths.WEIGHTS),
            result=result,
            measured=place(paths.PRUNE_MEASURED),
        )
    record = read_json(result)
    if record["status"] != "ok":
        shutil.rmtree(root)
        raise PrunebenchError(f"{config.models[cell.model].title} could not be pruned: {record['reason']}")
    return result.parent


def _tokens(wanted: Work, root: Path, model: Path) -> Path | None:
    """The calibration tokens, if anything looks at them."""
    cell = wanted.cell
    if not cell.calibrated or wanted.tokens:
        return wanted.tokens if cell.calibrated else None
    log.info("calibration tokens %s, seed %d", cell.calibration, cell.seed)
    corpus = arrive(wanted.config, wanted.specs, f"corpora/{calibration_corpus(cell.calibration)}", root)
    tokens, record = (root / pattern.format(**cell.wildcards) for pattern in ("tokens.npy", "tokens.json"))
    calibrate(wanted.specs.tokens(cell.model, cell.calibration, cell.seed), model, corpus, tokens, record)
    return tokens
