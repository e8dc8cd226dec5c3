"""The results on disk, and whether they are what today's config, code and inputs would give."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from prunebench import paths
from prunebench.assets.manifest import load_manifest
from prunebench.canonical import spec_hash
from prunebench.cells import Cell
from prunebench.files import read_json, sha256_file
from prunebench.plan import Plan

Content = TypeVar("Content")


class Results:
    """Results of the cells of a plan. A file is read again only when it changed, so asking often is cheap."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._asset = _remembered(lambda path: load_manifest(path).digest)
        self._file = _remembered(sha256_file)
        self._record = _remembered(_headlines)

    def pruned(self, cell: Cell) -> dict[str, Any]:
        """What prune.json says, without its blocks; with status "missing" and a reason if there is none for today."""
        spec = spec_hash(self._plan.specs.prune(cell))
        return self._current(paths.PRUNED.format(**cell.wildcards), spec, self._inputs(cell, ()))

    def evaluated(self, cell: Cell, suite: str) -> dict[str, Any]:
        """What the JSON of an evaluation says, without details of scores; "missing" as for `pruned`."""
        spec = spec_hash(self._plan.specs.evaluation(cell, suite))
        inputs = self._inputs(cell, self._plan.suite_assets(suite))
        return self._current(paths.EVALUATION.format(**cell.wildcards, suite=suite), spec, inputs)

    def _inputs(self, cell: Cell, assets: tuple[str, ...]) -> dict[str, str | None]:
        """Digests of what a cell is made from, as it is on disk now, under the names that results record."""
        found = {
            "model": self._asset(paths.MODEL.format(model=cell.model)),
            "allocation": self._file(self._plan.allocation(cell)),
            "tokens": self._file(paths.TOKENS.format(**cell.wildcards)) if cell.calibrated else None,
        }
        assets += self._plan.method_assets(cell.method)
        return found | {name: self._asset(paths.ASSET.format(asset=name)) for name in assets}

    def _current(self, path: str, expected: str, inputs: dict[str, str | None]) -> dict[str, Any]:
        """The result file at `path` if it was made from the expected spec and inputs, else why there is none."""
        record = self._record(path)
        if record is None:
            return {"status": "missing", "reason": "not run, or stopped by an error: see its log"}
        if record["spec_hash"] != expected:
            return {"status": "missing", "reason": "on disk from other settings or code: run snakemake again"}
        if changed := [name for name, digest in record["inputs"].items() if inputs.get(name) != digest]:
            return {"status": "missing", "reason": f"on disk from another {' and '.join(changed)}: run snakemake again"}
        return record


def _remembered(read: Callable[[Path], Content]) -> Callable[[str], Content | None]:
    """`read` of a path, None where there is no file; done again only if the file has changed."""

    @cache
    def known(path: Path, modified: int, size: int) -> Content:
        return read(path)

    def content(path: str) -> Content | None:
        try:
            found = Path(path).stat()
            return known(Path(path), found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            return None

    return content


def _headlines(path: Path) -> dict[str, Any]:
    """A result without its long parts: thousands of them are kept in memory."""
    record = {key: value for key, value in read_json(path).items() if key not in ("spec", "blocks")}
    scores = [{key: value for key, value in score.items() if key != "details"} for score in record.get("scores", ())]
    return {**record, "scores": scores}
