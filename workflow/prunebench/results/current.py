"""The results on disk, and whether they are what today's config, code and inputs would give."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from prunebench.assets.manifest import load_manifest
from prunebench.cell import Cell
from prunebench.errors import PrunebenchError
from prunebench.identity.canonical import spec_hash
from prunebench.plan import paths
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
        """The prune.json of `cell`; if there is none of today's, {"status": "missing", "reason": ...}."""
        spec = spec_hash(self._plan.specs.prune(cell))
        return self._current(paths.PRUNED.format(**cell.wildcards), spec, self._inputs(cell, ()))

    def evaluation(self, cell: Cell, suite: str) -> dict[str, Any]:
        """The result of `suite` on `cell`, or "missing" in the same way."""
        spec = spec_hash(self._plan.specs.evaluation(cell, suite))
        inputs = self._inputs(cell, self._plan.suite_assets(suite))
        return self._current(paths.EVALUATION.format(**cell.wildcards, suite=suite), spec, inputs)

    def search(self, search: str, seed: int) -> dict[str, Any]:
        """The result of a run of a search (by catalog name), or "missing" in the same way."""
        entry = self._plan.config.searches[search]
        inputs = {
            "model": self._asset(paths.MODEL.format(model=entry.model)),
            "corpus": self._asset(paths.CORPUS.format(corpus=entry.corpus)),
            "profile": self._file(self._plan.search_profile(search)),
        }
        spec = spec_hash(self._plan.specs.search(search, seed))
        return self._current(paths.SEARCH.format(search=search, seed=seed), spec, inputs)

    def _inputs(self, cell: Cell, assets: tuple[str, ...]) -> dict[str, str | None]:
        """Digests of what a cell is made from, as it is on disk now, under the names that results record."""
        found = {
            "model": self._asset(paths.MODEL.format(model=cell.model)),
            "allocation": self._file(self._plan.allocation(cell)),
            "tokens": self._file(paths.TOKENS.format(**cell.wildcards)) if cell.calibrated else None,
        }
        for path in self._plan.found(cell):
            runs = self._plan.search_runs(cell)
            current = all(self.search(*run)["status"] != "missing" for run in runs)
            found["search"] = self._file(path) if current else None
        for path in self._plan.gradients(cell):
            found["gradients"] = self._gradients(path)
        assets += self._plan.method_assets(cell.method)
        return found | {name: self._asset(paths.ASSET.format(asset=name)) for name in assets}

    def _current(self, path: str, expected: str, inputs: dict[str, str | None]) -> dict[str, Any]:
        """The result file at `path` if it was made from the expected spec and inputs, else why there is none."""
        record = _or_none(self._read)(path)
        if record is None:
            return {"status": "missing", "reason": "not run, or stopped by an error: see its log"}
        if record["spec_hash"] != expected:
            return {"status": "missing", "reason": "on disk from other settings or code: run snakemake again"}
        if changed := [name for name, digest in record["inputs"].items() if inputs.get(name) != digest]:
            return {"status": "missing", "reason": f"on disk from another {' and '.join(changed)}: run snakemake again"}
        return record


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
