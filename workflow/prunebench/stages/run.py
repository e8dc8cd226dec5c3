"""Running the stage of a job, in this process or by the command that its rule runs.

A stage is the function that has the name of its module. Its parameters are the spec, wildcards, inputs and outputs of
the job by name, of the types `Path`, `Path | None` for an input that some jobs do not need, and `Sequence[Path]`.
"""

import importlib
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prunebench.errors import PrunebenchError
from prunebench.identity.watch import Watch
from prunebench.plan.jobs import rules
from prunebench.plan.jobs.base import Job, modules_of
from prunebench.registry import did_you_mean
from prunebench.storage.files import remove


def stage(name: str) -> Callable[..., str | None]:
    """Import the stage called `name`, which may take seconds. Raises PrunebenchError if no rule has this stage."""
    if name not in (known := [*rules(), "outputs"]):
        raise PrunebenchError(f"unknown stage {name!r}{did_you_mean(name, known)}")
    function: Callable[..., str | None] = getattr(importlib.import_module(f"prunebench.stages.{name}"), name)
    return function


def parameters(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Find the types of the parameters of a stage by name."""
    hints = typing.get_type_hints(function)
    return {name: hints[name] for name in inspect.signature(function).parameters}


def run(job: Job, root: Path = Path(), **given: Any) -> str | None:
    """Run `job` in this process; returns the line that says how it went.

    All files of the job lie below `root`, except the inputs and outputs that `given` names. An input that the job does
    not need is not passed, even if `given` has it.
    """
    watch = Watch(modules_of(job.rule, job.spec))
    function = stage(job.rule)
    arguments = {name: _argument(job, name, root) for name in parameters(function)}
    arguments |= {name: path for name, path in given.items() if arguments.get(name) is not None}
    for name in arguments.keys() & job.writes.keys():
        arguments[name].parent.mkdir(parents=True, exist_ok=True)
    return watched(watch, job.rule, function, arguments)


def watched(watch: Watch, rule: str, function: Callable[..., str | None], arguments: Mapping[str, Any]) -> str | None:
    """Call the stage of `rule`. Raises PrunebenchError, and deletes what it wrote, if its code was edited meanwhile."""
    line = function(**arguments)
    try:
        watch.check()
    except PrunebenchError:
        for name in arguments.keys() & (rules()[rule].writes.keys() if rule in rules() else set()):
            remove(arguments[name])
        raise
    return line


def command(job: Job) -> list[str]:
    """The words after `python -m prunebench.stages` that run `job`, as its rule writes them."""
    words = [job.rule, "--threads", str(job.threads), "--gpus", str(int(job.gpu))]
    for name in parameters(stage(job.rule)):
        value = _argument(job, name, Path())
        values = value if isinstance(value, list) else [] if value is None else [value]
        words += [f"--{name}", *map(str, values)]
    return words


def _argument(job: Job, name: str, root: Path) -> Any:
    """Find the value that a job passes to its stage for the parameter `name`."""
    if name == "spec":
        return job.spec
    if name in job.needs:
        paths = job.input(name)
        if isinstance(paths, str):
            return root / paths
        return [root / path for path in paths] if isinstance(job.needs[name], Sequence) else None
    if name in job.writes:
        return root / job.output(name).path
    if name == "outputs":
        return [root / path for path in job.outputs]
    return job.wildcards[name]
