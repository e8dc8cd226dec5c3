"""Evaluates one model on suites of the catalog, or on some of their tasks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prunebench import registry
from prunebench.assets.manifest import load_manifest
from prunebench.config.schema import configured
from prunebench.errors import PrunebenchError
from prunebench.registry import did_you_mean
from prunebench.standalone.assets import arrive
from prunebench.standalone.records import Evaluated
from prunebench.standalone.request import compute_settings, plan_without_study, refuse_unknown
from prunebench.storage.digests import user_cache
from prunebench.suites.lm_eval import LmEval

if TYPE_CHECKING:
    from prunebench.config.entries import SuiteEntry
    from prunebench.config.values import Compute
    from prunebench.plan.plan import Plan
    from prunebench.standalone.measure import Loaded
    from prunebench.suites.base import Score, Suite

SUITE = "zeroshot7"
"""The suite that is taken if a user names neither a suite nor a task."""


@dataclass(frozen=True)
class Evaluation:
    """Suites of the catalog, perhaps with a part of their tasks or rows. No asset has been fetched."""

    plan: Plan
    entries: dict[str, SuiteEntry]
    """The suites by their names in the catalog."""

    @property
    def suites(self) -> dict[str, Suite]:
        """The plug-ins of the suites."""
        return {name: configured("suites", entry) for name, entry in self.entries.items()}

    @property
    def title(self) -> str:
        """A few words on what is evaluated: suites by their names, and of parts of them the tasks."""
        whole = self.plan.config.suites
        parts = [
            name if _tasks(entry) == _tasks(whole[name]) else ", ".join(_tasks(entry))
            for name, entry in self.entries.items()
        ]
        return ", ".join(parts)

    def run(self, loaded: Loaded, *, record: bool = False, samples: bool = False) -> Evaluated:
        """Return all scores of the model; with `record` also what lm-eval reports, with `samples` of each row.

        Raises PrunebenchError if the model does not work, or if an asset cannot be fetched.
        """
        from prunebench.standalone.measure import computing, parts_of

        began, unfinished = time.time(), []
        scores: list[Score] = []
        reports: list[dict[str, Any]] = []
        for name, suite in self.suites.items():
            manifests = {asset: load_manifest(arrive(self.plan, asset, user_cache())) for asset in suite.assets}
            directories = {asset: manifest.directory for asset, manifest in manifests.items()}
            digests = {asset: manifest.digest for asset, manifest in manifests.items()}
            identity = {"suite": self.entries[name].model_dump(mode="json"), "assets": digests}
            parts = parts_of(loaded, {**identity, **({"record": [record, samples]} if record else {})})
            unfinished.append(parts)
            with computing(loaded):
                if record and isinstance(suite, LmEval):
                    more, told = suite.recorded(loaded.subject, directories, parts, samples=samples)
                    reports += told
                else:
                    more = suite.run(loaded.subject, directories, parts)
            scores += more
        # The parts are removed only now: if a later suite is killed, the earlier ones are not evaluated again.
        for parts in unfinished:
            parts.remove()
        limit = next((entry.params["limit"] for entry in self.entries.values() if entry.params.get("limit")), None)
        return Evaluated(scores, loaded.manifest, loaded.compute, self.title, limit, reports, began)


def evaluation(
    suite: str | None = None, tasks: Sequence[str] = (), limit: int | None = None, compute: Compute | None = None
) -> Evaluation:
    """Choose `tasks` of the suite `suite`, or all of its tasks, with at most `limit` rows of each.

    Without a suite, each task is evaluated as the first suite of the catalog does that has it. Raises PrunebenchError
    for an unknown name, and for a limit if a suite has no rows.
    """
    plan = plan_without_study(compute or compute_settings())
    if suite is not None or not tasks:
        refuse_unknown("suites", suite or SUITE)
    suites = {name: entry for name, entry in plan.config.suites.items() if suite in (None, name)}
    chosen = _with_tasks(suites, tasks, suite) if tasks else {suite or SUITE: suites[suite or SUITE]}
    return Evaluation(plan, {name: _limited(name, entry, limit) for name, entry in chosen.items()})


def _with_tasks(suites: dict[str, SuiteEntry], tasks: Sequence[str], suite: str | None) -> dict[str, SuiteEntry]:
    """Return the suites that have `tasks` with these tasks alone. Raises PrunebenchError if none has a task."""
    parts: dict[str, list[str]] = {}
    for task in dict.fromkeys(tasks):
        homes = [(name, _tasks(entry)[task]) for name, entry in suites.items() if task in _tasks(entry)]
        homes += [(name, task) for name, entry in suites.items() if task in _tasks(entry).values()]
        if not homes:
            known = dict.fromkeys(task for entry in suites.values() for task in _tasks(entry))
            where = f" of suite {suite!r}" if suite else ""
            raise PrunebenchError(f"--task: unknown task {task!r}{where}{did_you_mean(task, known)}")
        home, own = homes[0]
        parts.setdefault(home, []).append(own)
    return {
        name: suites[name].model_copy(update={"params": {**suites[name].params, "tasks": part}})
        for name, part in parts.items()
    }


def _tasks(entry: SuiteEntry) -> dict[str, str]:
    """Map the names of the tasks of a suite in scores to their names in its parameters."""
    tasks: list[str] = entry.params.get("tasks", [])
    return dict(zip(configured("suites", entry).tasks, tasks, strict=False)) if tasks else {}


def _limited(name: str, entry: SuiteEntry, limit: int | None) -> SuiteEntry:
    """Return `entry` with at most `limit` rows of each task (None: as the catalog says)."""
    plugin: Any = registry.load("suites", entry.suite)
    if plugin.alone:
        raise PrunebenchError(f"--suite: {name} compares forms of a model in time: prunebench speed does that")
    if limit is None:
        return entry
    if "limit" not in plugin.Params.model_fields:
        raise PrunebenchError(f"--limit: suite {name!r} has no rows to limit")
    return entry.model_copy(update={"params": {**entry.params, "limit": limit}})
