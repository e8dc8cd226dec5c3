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
from prunebench.cells import Cell, allocation_form, method_of, reads_profile, runs_model
from prunebench.config import Config, calibration_corpus
from prunebench.errors import PrunebenchError
from prunebench.export import refuse_to_overwrite, write_directory, writing
from prunebench.files import read_json, sha256_file
from prunebench.partial import claim
from prunebench.provenance import conditions
from prunebench.single.assets import arrive, cache, resolved
from prunebench.single.request import PROJECT, Request, Work, work
from prunebench.spec import Specs
from prunebench.stages.allocate import allocate
from prunebench.stages.calibrate import calibrate
from prunebench.stages.gradients import gradients
from prunebench.stages.profile import profile
from prunebench.stages.prune import prune

log = logging.getLogger("prunebench")


def prune_to(request: Request, destination: Path, *, force: bool = False) -> dict[str, Any]:
    """Prune a model and write it to the directory `destination`; returns what its prunebench.json says.

    Unfinished work lies beside `destination`: the same request goes on from there. Raises PrunebenchError for a
    request that cannot be met, before work starts, for a model that could not be pruned, and at once while another run
    writes `destination`.
    """
    wanted = work(request)
    destination = destination.resolve()
    given = [Path(request.model), *([request.tokens] if request.tokens else [])]
    precious = [path.resolve() for path in (*given, PROJECT, cache()) if path.exists()]
    root = destination.with_name(f".{destination.name}.prune.part")
    with writing(destination):
        refuse_to_overwrite(destination, force=force, precious=tuple(precious))
        with threads(request.compute.threads):
            cell = _prune(wanted, root)
        record = write_directory(cell, destination, force=force)
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
    title = config.models[cell.model].title
    log.info("model %s", title)
    write_manifest(resolved(arrive(config, specs, f"models/{cell.model}", root), title), model.parent)
    method = method_of(config, cell)
    assets = [arrive(config, specs, asset, root) for asset in sorted(method.assets)]
    tokens = _tokens(wanted, root)
    digests = [load_manifest(path).digest for path in (model, *assets)] + [sha256_file(tokens) if tokens else None]
    claim(root / "results", canonical([specs.prune(cell), *digests, conditions()]))
    point = allocation_form(config, cell)
    measured = profile_of(specs, point, root, tokens) if tokens and reads_profile(config, point) else None
    allocation = place(paths.ALLOCATION, point)
    if not _done(allocation):
        seen = tokens if runs_model(config, point) else None
        if seen:
            log.info("allocate: %s, by a run of the model", cell.allocator)
        allocate(
            specs.allocation(point),
            model=model,
            allocation=allocation,
            measured=place(paths.ALLOCATION_MEASURED, point),
            profile=measured,
            tokens=seen,
        )
    result = place(paths.PRUNED)
    slopes = place(paths.GRADIENTS) if method.needs_gradients else None
    if slopes and tokens and not slopes.exists():
        log.info("gradients: of the dense model's loss")
        times = place(paths.GRADIENTS_MEASURED)
        spec = specs.gradients(cell.model, cell.calibration, cell.seed)
        gradients(spec, model=model, tokens=tokens, gradients=slopes, measured=times)
    if not _done(result):
        log.info("prune: %s", ", ".join(filter(None, [config.methods[cell.method].method, cell.allocator, cell.point])))
        prune(
            specs.prune(cell),
            model=model,
            tokens=tokens if "calibration" in method.uses else None,
            gradients=slopes,
            allocation=allocation,
            assets=assets,
            weights=place(paths.WEIGHTS),
            result=result,
            measured=place(paths.PRUNE_MEASURED),
        )
    record = read_json(result)
    if record["status"] != "ok":
        raise PrunebenchError(
            f"{config.models[cell.model].title} could not be pruned: {record['reason']}. "
            f"What was done is kept in {root}, where the same command goes on: delete it if you change plans"
        )
    return result.parent


def _done(result: Path) -> bool:
    """Whether a stage has written `result` and did not fail."""
    return result.exists() and read_json(result)["status"] == "ok"


def _tokens(wanted: Work, root: Path) -> Path | None:
    """The calibration tokens, if anything looks at them."""
    if not wanted.cell.calibrated or wanted.tokens:
        return wanted.tokens if wanted.cell.calibrated else None
    return draw_tokens(wanted.config, wanted.specs, wanted.cell, root)


def draw_tokens(config: Config, specs: Specs, cell: Cell, root: Path) -> Path:
    """The calibration tokens of `cell`, drawn below `root`, where its model is."""
    log.info("calibration tokens %s, seed %d", cell.calibration, cell.seed)
    model = root / paths.MODEL.format(**cell.wildcards)
    corpus = arrive(config, specs, f"corpora/{calibration_corpus(cell.calibration)}", root)
    tokens, record = (root / pattern.format(**cell.wildcards) for pattern in ("tokens.npy", "tokens.json"))
    calibrate(specs.tokens(cell.model, cell.calibration, cell.seed), model, corpus, tokens, record)
    return tokens


def profile_of(specs: Specs, cell: Cell, root: Path, tokens: Path) -> Path:
    """The profile of the model below `root` on `tokens`, made unless it is there."""
    model, found, times = (
        root / pattern.format(**cell.wildcards) for pattern in (paths.MODEL, paths.PROFILE, paths.PROFILE_MEASURED)
    )
    if not found.exists():
        log.info("profile: statistics of the dense model")
        spec = specs.profile(cell.model, cell.calibration, cell.seed)
        profile(spec, model=model, tokens=tokens, profile=found, measured=times)
    return found
