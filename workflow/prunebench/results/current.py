"""The results on disk, and whether they are what today's config, code and inputs would give."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from prunebench.assets.manifest import load_manifest
from prunebench.cell import Cell
from prunebench.errors import PrunebenchError
from prunebench.plan.jobs.base import Job, Output
from prunebench.plan.plan import Plan
from prunebench.storage import checkpoints
from prunebench.storage.files import read_json, sha256_file

Content = TypeVar("Content")


class Results:
    """Results of the cells of a plan. What they were made from is digested again only where a file changed."""

    def __init__(self, plan: Plan, read: Callable[[Path], dict[str, Any]] = read_json) -> None:
        """`read` gets a result from its file; `remembered(headlines)` makes it cheap to ask often."""
        self._plan = plan
        self._read = read
        self._asset = _or_none(remembered(_digest))
        self._file = _or_none(remembered(sha256_file))
        # As large as the model: the digest was taken when it was written.
        self._gradients = _or_none(remembered(lambda path: checkpoints.metadata(path)["digest"]))

    def prune(self, cell: Cell) -> dict[str, Any]:
        """The prune.json of `cell`; if none is valid today, {"status": "missing", "reason": ...}."""
        return self.valid(self._plan.job("prune", **cell.wildcards))

    def evaluation(self, cell: Cell, suite: str) -> dict[str, Any]:
        """The result of `suite` on `cell`, or "missing" in the same way."""
        return self.valid(self._plan.job("evaluate", **cell.wildcards, suite=suite))

    def search(self, search: str, seed: int) -> dict[str, Any]:
        """The result of a run of a search (by catalog name), or "missing" in the same way."""
        return self.valid(self._plan.job("search_allocation", search=search, seed=seed))

    def valid(self, job: Job) -> dict[str, Any]:
        """The result of `job` if it was made from the spec and the inputs of today, or "missing" in the same way."""
        record = _or_none(self._read)(str(job.outputs[0]))
        if record is None:
            return {"status": "missing", "reason": "not run, or stopped by an error: see its log"}
        if record["spec_hash"] != job.spec_hash:
            return {"status": "missing", "reason": "on disk from other settings or code: run snakemake again"}
        digests = {name: self._digest(output) for name, output in job.recorded.items()}
        if changed := [name for name, digest in record["inputs"].items() if digests.get(name) != digest]:
            return {"status": "missing", "reason": f"on disk from another {' and '.join(changed)}: run snakemake again"}
        return record

    def _digest(self, output: Output) -> str | None:
        """The digest of a file as it is on disk now; None if it is not there, or is itself no longer valid."""
        runs = [output.job] if output.job.rule == "search_allocation" else []
        runs += output.job.upstream if output.job.rule == "gather_search" else []
        if any(self.valid(run)["status"] == "missing" for run in runs):
            return None
        read = {"asset": self._asset, "gradients": self._gradients}.get(output.name, self._file)
        return read(output.path)


def remembered(read: Callable[[Path], Content]) -> Callable[[Path], Content]:
    """`read`, done again only of a file that has changed."""

    @cache
    def known(path: Path, modified: int, size: int) -> Content:
        return read(path)

    def content(path: Path) -> Content:
        found = path.stat()
        return known(path, found.st_mtime_ns, found.st_size)

    return content


def headlines(path: Path) -> dict[str, Any]:
    """A result without its long parts: thousands of them fit into memory."""
    record = {key: value for key, value in read_json(path).items() if key not in ("spec", "blocks")}
    scores = [{key: value for key, value in score.items() if key != "details"} for score in record.get("scores", ())]
    return {**record, "scores": scores}


def _or_none(read: Callable[[Path], Content]) -> Callable[[str], Content | None]:
    """`read` of a path, None where there is no file (any more: a run may delete it between two looks)."""

    def content(path: str) -> Content | None:
        try:
            return read(Path(path))
        except FileNotFoundError:
            return None

    return content


def _digest(asset: Path) -> str | None:
    """The digest of an asset; None if its files are not those that arrived: then no result is from them."""
    try:
        return load_manifest(asset).digest
    except PrunebenchError:
        return None
