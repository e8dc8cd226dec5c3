"""Runs the stages of the DAG to prune one model into a `from_pretrained` directory."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from prunebench.assets.manifest import load_manifest, write_manifest
from prunebench.assets.tokens import by_window, front_of, load_tokenizer, read_tokens
from prunebench.config.packaged import ROOT
from prunebench.config.schema import calibration_corpus
from prunebench.errors import PrunebenchError
from prunebench.estimate import space
from prunebench.plan import paths
from prunebench.plan.graph import ordered
from prunebench.plan.grid import method_of
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan
from prunebench.runtime.progress import about, resuming
from prunebench.runtime.provenance import conditions
from prunebench.stages.run import run
from prunebench.standalone.assets import arrive, resolved
from prunebench.standalone.export import check_exportable, refuse_to_overwrite, write_directory, writing
from prunebench.standalone.prepare import Prepared
from prunebench.standalone.request import Work, with_tokens
from prunebench.standalone.unfinished import admit, finished, is_worth_keeping, refuse_other_settings, take_over
from prunebench.standalone.wording import of_own_text
from prunebench.storage.digests import user_cache
from prunebench.storage.files import remove, sha256_file
from prunebench.storage.finished_blocks import whole_blocks
from prunebench.storage.packed import Packing
from prunebench.storage.sealed import read_record, read_status, write_record

log = logging.getLogger("prunebench")


def prune_to(
    ready: Prepared, destination: Path, *, force: bool = False, packing: Packing | None = None
) -> dict[str, Any]:
    """Prune a model and write it to the directory `destination`; return the content of its prunebench.json.

    With `packing` it is written packed. Unfinished work lies beside `destination`, and a repeated request goes on from
    it. Raises PrunebenchError before any work if `destination` may not be written, if another run writes it, or if
    without `force` finished blocks of other settings would be lost, and later if pruning fails.
    """
    destination = destination.resolve()
    root = _unfinished(destination)
    with writing(destination):
        _refuse(ready, destination, force=force)
        admit(ready.work, root)
        try:
            with threads(ready.request.compute.threads):
                cell = _prune(ready.work, root, force=force)
            record = write_directory(cell, destination, force=force, packing=packing)
        except BaseException as error:
            # No later request names the temporary directory of a model in memory.
            if not (ready.request.stored and is_worth_keeping(root)):
                remove(root)
            elif isinstance(error, KeyboardInterrupt):
                log.info("unfinished work is kept in %s: delete it if you change plans", root)
            raise
        shutil.rmtree(root)
    return record


def refuse_destination(ready: Prepared, destination: Path, *, force: bool) -> None:
    """Raise PrunebenchError unless the pruned model may be written to the directory `destination`, as by `prune_to`."""
    destination = destination.resolve()
    with writing(destination):
        _refuse(ready, destination, force=force)


def _refuse(ready: Prepared, destination: Path, *, force: bool) -> None:
    """Raise PrunebenchError if a model, a text, or finished blocks of other settings would be lost."""
    request = ready.request
    given = filter(None, (request.tokens, request.text))
    precious = [path.resolve() for path in (*given, ROOT, user_cache()) if path.exists()]
    model = Path(request.model).resolve()
    refuse_to_overwrite(destination, force=force, model=model if model.exists() else None, precious=tuple(precious))
    if not force:
        refuse_other_settings(ready.work, _unfinished(destination))


def _unfinished(destination: Path) -> Path:
    """Return the place of unfinished work for the directory `destination`."""
    return destination.with_name(f".{destination.name}.prune.part")


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let PyTorch use `count` threads for as long as the context lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _prune(request: Work, root: Path, *, force: bool) -> Path:
    """Run the jobs of one cell below the directory `root`, and return the directory of its result.

    With `force`, results of other inputs there are deleted.
    """
    plan, cell = request.plan, request.cell
    pruning = plan.job("prune", **cell.wildcards)
    # The text comes first, so that one that cannot be read is reported before a model is fetched.
    drawn = cell.calibrated and not request.tokens
    corpus = calibration_text(pruning, root) if drawn else None
    model = fetch_to_root(pruning, root)
    check_exportable(load_manifest(model).directory)
    pending = [job for job in ordered([pruning]) if job.own_cost and not _done(root / job.outputs[0])]
    space.check([*space.demands(plan, pending, root), space.dense_copy(load_manifest(model), root.parent)])
    plan, tokens = _drawn(request, corpus, root) if drawn else (plan, request.tokens if cell.calibrated else None)
    pruning = plan.job("prune", **cell.wildcards)
    assets = [arrive(plan, asset, root) for asset in sorted(method_of(plan.config, cell).assets)]
    identity = {
        "the settings or the code": pruning.spec,
        "the files of the model": load_manifest(model).digest,
        **{path.parent.name: load_manifest(path).digest for path in assets},
        "the calibration tokens": sha256_file(tokens) if tokens else None,
        "the libraries or the device": conditions(),
    }
    take_over(request, root, identity, force=force)
    if tokens and drawn:
        record = plan.job("calibrate", **cell.wildcards).output("record").path
        write_record(root / record, read_record(tokens.with_suffix(".json")))
    run_jobs([pruning], root, tokens=tokens, assets=assets)
    result = root / pruning.outputs[0]
    pruned = read_record(result)
    if pruned["status"] != "ok":
        title = plan.config.models[cell.model].title
        kept = f". What was done is kept in {root}, where the same command goes on: delete it if you change plans"
        raise PrunebenchError(f"{title} could not be pruned: {pruned['reason']}{kept if finished(root) else ''}")
    return result.parent


def run_jobs(targets: list[Job], root: Path, **given: Any) -> None:
    """Run `targets` and the jobs that they need, unless they are done. Their files lie below `root`.

    No job fetches or draws anything: models are on disk, and `given` has tokens and assets by names of inputs.
    """
    for job in ordered(targets):
        if (job.own_cost or job in targets) and not _done(root / job.outputs[0]):
            log.info("%s: %s", job, (type(job).__doc__ or "").splitlines()[0])
            with about(job.config.models[job.model].title), resuming(_blocks_before(root / job.outputs[0])):
                run(job, root, **given)


def _blocks_before(result: Path) -> int:
    """Count the blocks that an earlier run of the job of `result` has finished: one that prunes, or BESA's allocation.

    Call it when the results are known to be of the present request.
    """
    return max(whole_blocks(result.parent / paths.BLOCKS), whole_blocks(result.with_name(f".{result.stem}.parts")))


def _done(result: Path) -> bool:
    """Whether a stage has written `result` and did not fail."""
    if result.suffix != ".json":
        return result.exists()
    return read_status(result) == "ok"


def _drawn(request: Work, corpus: Path | None, root: Path) -> tuple[Plan, Path]:
    """Return the plan with specs for the calibration tokens, and the file of tokens, which are drawn now.

    `corpus` is the asset.json of the text from which tokens are drawn. It is None if the model writes all of them.
    """
    plan, cell = request.plan, request.cell
    plan = _with_bos(request, root)
    try:
        tokens = draw_tokens(plan.job("calibrate", **cell.wildcards), corpus, root)
    except PrunebenchError as error:
        if not request.own_text:
            raise
        title = plan.config.corpora[calibration_corpus(cell.calibration)].title
        raise PrunebenchError(of_own_text(str(error), title)) from error
    # The spec of a user's text has only its path, so the digest of the tokens takes its place.
    return (with_tokens(plan, tokens) if request.own_text else plan), tokens


def _with_bos(request: Work, root: Path) -> Plan:
    """Return the plan with a decision about BOS tokens, which the tokenizer of the model below `root` settles."""
    plan, cell = request.plan, request.cell
    tokenizer = load_tokenizer(load_manifest(root / plan.asset(f"models/{cell.model}").outputs[0]).directory)
    name = calibration_corpus(cell.calibration)
    bos = {"calibration_bos": front_of(tokenizer, by_window(request.bos))}
    corpora = {**plan.config.corpora, name: plan.config.corpora[name].model_copy(update=bos)}
    return replace(plan, config=plan.config.model_copy(update={"corpora": corpora}))


def fetch_to_root(job: Job, root: Path) -> Path:
    """Fetch the model of `job` and return its asset.json below `root`. Its title is the title in the catalog."""
    title = job.config.models[job.model].title
    log.info("model %s", title)
    path = root / job.plan.asset(f"models/{job.model}").outputs[0]
    write_manifest(resolved(arrive(job.plan, f"models/{job.model}", root), title), path.parent)
    return path


def calibration_text(job: Job, root: Path) -> Path | None:
    """Fetch the text from which `job` draws calibration tokens, and return its asset.json; None without such a text."""
    source = job.config.calibrated_from(job.wildcards["calibration"])
    return arrive(job.plan, source, root) if source else None


def draw_tokens(job: Job, corpus: Path | None, root: Path) -> Path:
    """Let `job` draw calibration tokens from the asset.json `corpus`, and return their file below `root`.

    Tokens that the model has written for an earlier run of the command are used again.
    """
    log.info("calibration tokens %s", job.subject)
    tokens = root / "tokens.npy"
    if job.gpu and _there(tokens, job):
        return tokens
    run(job, root, corpus=corpus, tokens=tokens, record=tokens.with_suffix(".json"))
    return tokens


def _there(tokens: Path, job: Job) -> bool:
    """Whether `job` has already written the file `tokens` and its record."""
    try:
        read_tokens(tokens, job.spec_hash)
    except PrunebenchError:
        return False
    return tokens.with_suffix(".json").exists()
