"""The results on disk, and whether today's config, code and inputs would give the same."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from prunebench import registry
from prunebench.assets.manifest import load_manifest
from prunebench.cell import Cell
from prunebench.errors import PrunebenchError
from prunebench.plan.jobs.base import Job, Output
from prunebench.plan.plan import Plan
from prunebench.storage import checkpoints
from prunebench.storage.files import sha256_file
from prunebench.storage.sealed import Damaged, read_if_whole, read_record

Content = TypeVar("Content")
SEARCHES = ("search_allocation", "gather_search")
"""The rules whose results rest on runs of a search."""


class Results:
    """The results of the cells of a plan. Their inputs are digested again only where a file changed."""

    def __init__(self, plan: Plan, read: Callable[[Path], dict[str, Any]] = read_record) -> None:
        """`read` gets a result from its file; `remembered(headlines)` makes it cheap to ask often."""
        self._plan = plan
        self._read = read
        self._asset = _or_none(remembered(_digest))
        self._file = _or_none(remembered(sha256_file))
        # This file is as large as the model, so its digest was taken when it was written.
        self._gradients = _or_none(remembered(checkpoints.digest))

    def prune(self, cell: Cell) -> dict[str, Any]:
        """Read the prune.json of `cell`; see `valid`."""
        return self.valid(self._plan.job("prune", **cell.wildcards))

    def evaluation(self, cell: Cell, suite: str) -> dict[str, Any]:
        """Read the result of `suite` (a catalog name) on `cell`, with the times that were measured; see `valid`."""
        job = self._plan.job("evaluate", **cell.wildcards, suite=suite)
        record = self.valid(job)
        plugin = registry.load("suites", self._plan.config.suites[suite].suite)
        if record["status"] != "ok" or not any(metric.clocked for metric in plugin.metrics):
            return record
        measured = read_if_whole(path := Path(job.output("measured").path))
        if measured is None or "scores" not in measured:
            return {"status": "missing", "reason": f"{path} is damaged or lost: delete {job.outputs[0]}"}
        return {**record, "scores": [*record["scores"], *measured["scores"]]}

    def search(self, search: str, seed: int) -> dict[str, Any]:
        """Read the result of a run of a search (a catalog name); see `valid`."""
        return self.valid(self._plan.job("search_allocation", search=search, seed=seed))

    def valid(self, job: Job) -> dict[str, Any]:
        """Read the result of `job` if it was made from the spec and the inputs of today.

        Otherwise returns {"status": "missing", "reason": ...}.
        """
        try:
            record = self._read(job.outputs[0])
        except FileNotFoundError:
            return {"status": "missing", "reason": "not run, or stopped by an error: see its log"}
        except Damaged as damage:
            return {"status": "missing", "reason": str(damage)}
        # Snakemake plans nothing if the file of another cell was copied over this one.
        again = f"run snakemake again, and if nothing is run, delete {job.outputs[0]}"
        if record.get("spec_hash") != job.spec_hash:
            return {"status": "missing", "reason": f"on disk from other settings or code: {again}"}
        digests = {name: self._digest(output) for name, output in job.recorded.items()}
        if changed := [name for name, digest in record["inputs"].items() if digests.get(name) != digest]:
            reason = f"on disk from another {' and '.join(changed)}"
            outputs = [job.recorded[name] for name in changed if name in job.recorded]
            if lost := [run for output in outputs for run in self._lost(output)]:
                # No job that is still to run would notice it, or make it again if it were deleted.
                return {"status": "missing", "reason": f"{reason}: {_force('damaged or lost', lost)}"}
            reason += f": {again}"
            if outputs:
                makers = [output.job for output in outputs]
                reason += f" (if that does not help, {_force('perhaps damaged', makers)})"
            return {"status": "missing", "reason": reason}
        return record

    def _digest(self, output: Output) -> str | None:
        """Compute the digest of a file as it is on disk now; None if it is absent, or is itself no longer valid."""
        if self._lost(output):
            return None
        read = {"asset": self._asset, "gradients": self._gradients}.get(output.name, self._file)
        return read(output.path)

    def _lost(self, output: Output) -> list[Job]:
        """List the runs of a search on which a file rests and whose results are missing or no longer valid."""
        return [run for run in _runs(output.job) if self.valid(run)["status"] == "missing"]


def _force(state: str, makers: Sequence[Job]) -> str:
    """Say that the first outputs of jobs are in this `state`, and how to make them again."""
    files = list(dict.fromkeys(str(maker.outputs[0]) for maker in makers))
    rules = " ".join(dict.fromkeys(maker.rule for maker in makers))
    return f"{' and '.join(files)} {'is' if len(files) == 1 else 'are'} {state}: run snakemake --forcerun {rules}"


def _runs(job: Job) -> list[Job]:
    """List the runs of searches among `job` and the jobs that it gathers."""
    return [run for run in (job, *job.upstream) if run.rule == "search_allocation"] if job.rule in SEARCHES else []


def remembered(read: Callable[[Path], Content]) -> Callable[[Path], Content]:
    """Make a function like `read` that reads a file again only if it has changed."""

    @cache
    def known(path: Path, modified: int, size: int) -> Content:
        return read(path)

    def content(path: Path) -> Content:
        state = path.stat()
        return known(path, state.st_mtime_ns, state.st_size)

    return content


def headlines(path: Path) -> dict[str, Any]:
    """Read a result without its long parts, so that thousands of them fit into memory."""
    record = {key: value for key, value in read_record(path).items() if key not in ("spec", "blocks")}
    scores = [{key: value for key, value in score.items() if key != "details"} for score in record.get("scores", ())]
    return {**record, "scores": scores}


def _or_none(read: Callable[[Path], Content]) -> Callable[[str], Content | None]:
    """Make a function like `read` that returns None where no file can be read, as when a run has just deleted it."""

    def content(path: str) -> Content | None:
        try:
            return read(Path(path))
        except (OSError, Damaged):
            return None

    return content


def _digest(asset: Path) -> str | None:
    """Read the digest of an asset; None if its files have changed since they arrived: no result is made from those."""
    try:
        return load_manifest(asset).digest
    except PrunebenchError:
        return None
