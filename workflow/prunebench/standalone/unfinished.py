"""Keeps the unfinished work of a pruning for a run that can use it, and from one with other settings."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prunebench.config.schema import calibration_parts
from prunebench.config.sources import HubSource, PathSource
from prunebench.errors import PrunebenchError
from prunebench.identity.canonical import canonical
from prunebench.plan import paths
from prunebench.plan.grid import allocator_of, method_of
from prunebench.standalone.request import OWN, Work
from prunebench.storage.files import remove
from prunebench.storage.finished_blocks import is_block
from prunebench.storage.resume import claim, identity_of
from prunebench.storage.sealed import read_if_whole, read_status, write_record

log = logging.getLogger("prunebench")

RESULTS = "results"
"""The directory, below that of unfinished work, of everything that is made from the model and the calibration tokens.
The tokens themselves lie beside it, because it is emptied if they differ from the tokens of the last run."""
_PARAMS = {"--method": "--param", "--allocator": "--allocator-param"}
_SETTINGS = "settings.json"
_TEXT = "calibration text"
_REMEDY = "name another --out, or delete them with --force"


def refuse_other_settings(work: Work, root: Path) -> None:
    """Raise PrunebenchError if finished work below `root` is known to have other settings than `work`."""
    settings, earlier = _settings(work), read_if_whole(root / _SETTINGS)
    if is_worth_keeping(root) and earlier not in (None, settings):
        raise PrunebenchError(
            f"{root} holds {finished(root) or _TEXT} of other settings{differences(earlier, settings)}: "
            f"repeat those settings to go on, {_REMEDY}"
        )


def admit(work: Work, root: Path) -> None:
    """Make the directory `root` ready for `work`. Work of other settings is deleted."""
    settings, earlier, kept = _settings(work), read_if_whole(root / _SETTINGS), is_worth_keeping(root)
    if kept and earlier is None:
        return  # `take_over` finds out whether this is work of these settings.
    if earlier != settings:
        if kept:
            log.info("throwing away %s of other settings in %s", finished(root) or _TEXT, root)
        remove(root)
    write_record(root / _SETTINGS, settings)


def take_over(work: Work, root: Path, identity: Mapping[str, Any], *, force: bool) -> None:
    """Mark the results below `root` as those of `work`, once all that decides them is known: `identity`, by name.

    Results of another identity are deleted: with `force`, or if none is finished. Raises PrunebenchError otherwise.
    """
    results, mark, done = root / RESULTS, canonical(list(identity.values())), finished(root)
    earlier = identity_of(results)
    if done and earlier == mark:
        log.info("going on from an earlier run: %s in %s", done, root)
    elif done and not force:
        raise PrunebenchError(f"{root} holds {done} from before {_changes(earlier, identity)} changed: {_REMEDY}")
    elif not done and earlier != mark:
        remove(results)
    claim(results, mark)
    write_record(root / _SETTINGS, _settings(work))


def is_worth_keeping(root: Path) -> bool:
    """Whether anything below `root` took long to make: a finished block, or a text that the model has written."""
    return bool(finished(root)) or "generation" in (read_if_whole(root / "tokens.json") or {})


def finished(root: Path) -> str:
    """Say how much is finished in the unfinished work below `root`; the text is empty if nothing is."""
    files = [file for file in (root / RESULTS).rglob("*.safetensors") if not _is_of_failure(file)]
    blocks = sum(map(is_block, files))
    return f"{blocks} finished block{'s' if blocks > 1 else ''}" if blocks else "finished parts" if files else ""


def _is_of_failure(file: Path) -> bool:
    """Whether `file` has the weights of a cell that failed, which are none."""
    return file.name == Path(paths.WEIGHTS).name and read_status(file.with_name(Path(paths.PRUNED).name)) != "ok"


def _settings(work: Work) -> dict[str, Any]:
    """Return what decides the result of `work` before anything is read: the place of the result, and the options."""
    cell, config = work.cell, work.plan.config
    # A spec would read the weights, and those of a model in memory are not saved yet.
    method, allocator = method_of(config, cell), allocator_of(config, cell)
    options = {
        "model": _origin(work),
        "--method": method.name,
        **{f"--param {name}": value for name, value in _params(method)},
        "--allocator": allocator.name if cell.allocator == OWN else cell.allocator,
        **{f"--allocator-param {name}": value for name, value in _params(allocator)},
        **({"--pattern": cell.pattern} if cell.shape.structured else {"--sparsity": cell.sparsity}),
        "--seed": cell.seed,
    }
    if cell.calibrated:
        text, samples, seqlen = calibration_parts(cell.calibration)
        source = "--calibration" if work.tokens or work.own_text else "--corpus"
        options |= {source: text, "--samples": samples, "--seqlen": seqlen}
        options |= {f"--{name.replace('_', '-')}": value for name, value in config.compute.model_dump().items()}
    return {"cell": paths.CELL.format(**cell.wildcards), "options": options}


def _params(plugin: Any) -> Iterable[tuple[str, Any]]:
    """Return the parameters of a method or an allocator as they stand in JSON."""
    values: dict[str, Any] = plugin.params.model_dump(mode="json")
    return values.items()


def _origin(work: Work) -> str:
    source = work.plan.config.models[work.cell.model].source
    if isinstance(source, HubSource):
        return f"{source.repo}@{source.revision}"
    return source.path if isinstance(source, PathSource) else work.cell.model


def differences(earlier: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Say in brackets which options differ; the text is empty if none does, as for equal values that have two names."""
    before, now = earlier.get("options", {}), settings["options"]
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    for plugin in ("--method", "--allocator"):  # Those of another plug-in differ in all parameters.
        if plugin in names:
            names = [name for name in names if not name.startswith(f"{_PARAMS[plugin]} ")]
    if not names:
        return ""
    said = (" ".join(_said(name, options[name]) for name in names if name in options) for options in (before, now))
    return f" ({', not '.join(filter(None, said))})"


def _said(name: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{name}{'=' if name.partition(' ')[0] in _PARAMS.values() else ' '}{text}"


def _changes(earlier: str | None, identity: Mapping[str, Any]) -> str:
    """Name the parts of an identity that are not those of the earlier one."""
    try:
        before = json.loads(earlier or "")
    except ValueError:
        before = None
    if not isinstance(before, list) or len(before) != len(identity):
        return "the settings, inputs or code"
    now = json.loads(canonical(list(identity.values())))
    changed = [name for name, old, new in zip(identity, before, now, strict=True) if old != new]
    # The first part is the spec, which contains digests of some inputs: it says more only if nothing else has changed.
    return " and ".join([name for name in changed if name != next(iter(identity))] or changed)
