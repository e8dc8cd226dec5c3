"""The result of a job in the making, which every stage that computes records, whether it works or fails."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prunebench.assets.manifest import Manifest
from prunebench.errors import CellFailure
from prunebench.identity.canonical import canonical, spec_hash
from prunebench.runtime.provenance import Measurement, conditions
from prunebench.storage.files import check_finite
from prunebench.storage.sealed import write_record


class Outcome:
    """The record of a job, which becomes its result, and the measurement of its time and memory, which begins here."""

    def __init__(self, spec: str, inputs: Mapping[str, str | None] | None = None) -> None:
        """`inputs` are the digests of the files that the job is made from, by name."""
        self._measurement = Measurement()
        self.inputs: dict[str, Any] = dict(inputs or {})
        self.record: dict[str, Any] = {"spec": json.loads(spec), "spec_hash": spec_hash(spec), "inputs": self.inputs}

    @property
    def identity(self) -> str:
        """The text that unfinished work must share with this job to be used by it."""
        return canonical(self.record | conditions())

    @property
    def failure(self) -> str | None:
        """One line that says why the job failed; None if it did not."""
        return f"failed: {self.record['reason']}" if self.record.get("status") == "failed" else None

    def name_model(self, manifest: Manifest) -> None:
        """Record which model the result is of, in words: digests and catalog names say little to a reader."""
        self.record["model"] = {"title": manifest.title, "source": manifest.source.model_dump(mode="json")}

    @contextmanager
    def attempt(self) -> Iterator[dict[str, Any]]:
        """Give the record, which is completed within the context. A CellFailure there becomes the result.

        A number that is NaN or infinite is such a failure too, and the entry that holds it leaves the record.
        """
        before = dict(self.record)
        try:
            yield self.record
            check_finite(self.record)
            self.record.setdefault("status", "ok")
        except CellFailure as failure:
            if not self._is_finite:
                self.record.clear()
                self.record |= before
            self.record |= {"status": "failed", "reason": str(failure)}

    @property
    def _is_finite(self) -> bool:
        try:
            check_finite(self.record)
        except CellFailure:
            return False
        return True

    def write(self, result: Path, measured: Path, **resumed: Any) -> None:
        """Write the cost and the conditions of the job to `measured`, and last the record to `result` (JSON)."""
        self._measurement.write(measured, **resumed)
        write_record(result, self.record)
