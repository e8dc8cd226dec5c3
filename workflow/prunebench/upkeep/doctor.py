"""Finds causes of trouble on this machine and in its environment, and gives advice."""

import importlib.util
import os
import platform
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from prunebench.config.packaged import IN_CHECKOUT, ROOT
from prunebench.engine.placement.choice import CHOICE
from prunebench.errors import PrunebenchError
from prunebench.plan.slurm import partitions
from prunebench.runtime import instructions
from prunebench.runtime.cgroups import cpu_limit, memory_limit, visible_cpus
from prunebench.runtime.provenance import LIBRARIES, code_revision, version
from prunebench.runtime.script import THREAD_VARIABLES
from prunebench.upkeep import locks
from prunebench.view.recorded import records

GIB = 2**30
LITTLE_DISK, NO_DISK = 20 * GIB, 2 * GIB
LITTLE_MEMORY = 2
COMPUTING = {library.replace("_", "-") for library in LIBRARIES} | {"accelerate", "gguf", "scipy"}
"""The packages whose release may change a number of a result."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    level: str
    """ok, warning (it works, but not as it should) or problem (it will fail)."""
    subject: str
    text: str
    advice: str = ""


def examine(root: Path) -> Iterator[Finding]:
    """Run all checks, of packages against pyproject.toml and constraints.txt in `root`, which come with the package.

    Raises PrunebenchError if one of them is missing.
    """
    for name in ("pyproject.toml", "constraints.txt"):
        if not (root / name).is_file():
            raise PrunebenchError(f"{root / name} is missing, so prunebench is not whole: install it again")
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    constraints = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    yield python(project["requires-python"])
    yield from packages(project["dependencies"], [line for line in constraints if line and not line.startswith("#")])
    yield from (check() for check in (pip, gpu, slurm, cpus, bfloat16, packed, memory))
    yield from map(disk, (Path("results"), Path("resources")))
    yield from (check() for check in (threads, offline, snakemake_locks, code))


def python(required: str) -> Finding:
    """Check the version of Python."""
    release = platform.python_version()
    if SpecifierSet(required).contains(release, prereleases=True):
        return Finding("ok", "python", release)
    return Finding(
        "problem", "python", f"{release}, but {required} is needed", "make an environment with another Python"
    )


def packages(requirements: list[str], pins: list[str]) -> Iterator[Finding]:
    """Check that required packages are installed, new enough, and of the releases with which the tests were run."""
    tested = {pin.name: pin.specifier for pin in map(Requirement, pins)}
    levels = {"ok": 0, "warning": 0, "problem": 0}
    for requirement in map(Requirement, requirements):
        name, release = requirement.name, version(requirement.name)
        if release is None or not requirement.specifier.contains(release, prereleases=True):
            text = f"{release or 'not installed'}, but {requirement.specifier} is needed"
            level = "problem"
            yield Finding(level, name, text)
        elif name in tested and not tested[name].contains(release.partition("+")[0]):
            level, effect = "warning", "; numbers may differ in their last digits" if name in COMPUTING else ""
            yield Finding(level, name, f"{release}; the tests were run with {tested[name]}{effect}")
        else:
            level = "ok"
        levels[level] += 1
    worst = [level for level, count in levels.items() if count][-1]
    advice = _install() if worst != "ok" else ""
    yield Finding(worst, "packages", f"{levels['ok']} of {len(requirements)} as tested", advice)


def _install(extra: str = "") -> str:
    """Return the command that installs the tested releases, with the optional dependencies `extra`."""
    name = f".{extra}" if IN_CHECKOUT else f"prunebench{extra}"
    constraints = "constraints.txt" if IN_CHECKOUT else shlex.quote(str(ROOT / "constraints.txt"))
    return f"pip install -c {constraints} {'-e ' if IN_CHECKOUT else ''}{shlex.quote(name)}"


def pip() -> Finding:
    """Check for pip, which downloads models and text."""
    if importlib.util.find_spec("pip"):
        return Finding("ok", "pip", version("pip") or "")
    return Finding("problem", "pip", "not in this environment: nothing can be downloaded", "python -m ensurepip")


def gpu() -> Finding:
    """Check that torch can use the GPU, if there is one."""
    import torch

    from prunebench.engine.placement.device import best_device, name_and_memory, own_memory

    try:
        device = best_device()
    except PrunebenchError as error:
        return Finding("problem", "GPU", str(error), f"unset {CHOICE}, or name another device")
    if own_memory(device):
        name, memory = name_and_memory(device)
        driver = f", CUDA {torch.version.cuda}" if torch.version.cuda else ""
        return Finding("ok", "GPU", f"{name} ({device}), {memory / GIB:.0f} GiB{driver}")
    if os.environ.get(CHOICE) == str(device):
        return Finding("ok", "GPU", f"not used: {CHOICE} names the CPU")
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return Finding("ok", "GPU", "none: everything runs on the CPU")
    if torch.version.cuda is None:
        return Finding(
            "problem", "GPU", "there is one, but this torch is built for CPUs", "install a CUDA build of torch"
        )
    advice = f"look at nvidia-smi: the driver must support CUDA {torch.version.cuda}"
    return Finding("problem", "GPU", "there is one, but torch cannot use it", advice)


def slurm() -> Finding:
    """Check that Snakemake can submit jobs to SLURM, if there is a SLURM."""
    known = partitions()
    if not known:
        return Finding("ok", "SLURM", "none")
    text = ", ".join(f"{partition.name} ({partition.gpus} GPUs a node)" for partition in known)
    if version("snakemake-executor-plugin-slurm") is None:
        advice = f"{_install('[slurm]')}, then --workflow-profile profiles/slurm"
        return Finding("warning", "SLURM", f"{text}; Snakemake cannot use it yet", advice)
    return Finding("ok", "SLURM", f"{text}; --workflow-profile profiles/slurm")


def cpus() -> Finding:
    """Check for a limit of CPUs that snakemake --cores all would not see."""
    usable, limit = visible_cpus(), cpu_limit()
    if limit is not None and limit < usable:
        text = f"{usable} visible, but this container or job is limited to {limit:g}"
        return Finding("warning", "CPUs", text, f"snakemake --cores {max(1, int(limit))}, not --cores all")
    return Finding("ok", "CPUs", f"{usable} of {psutil.cpu_count()}")


def bfloat16() -> Finding:
    """Check whether the CPU has instructions for bfloat16."""
    if fast := instructions.for_bfloat16():
        return Finding("ok", "bfloat16", f"fast on this CPU ({', '.join(fast)})")
    advice = "compute: {dtype: float32} in the config may be faster; it is another number, not a better one"
    return Finding("warning", "bfloat16", "slow on this CPU", advice)


def packed() -> Finding:
    """Check what computes products with packed weights."""
    from prunebench.packed import kernels

    try:
        choice = kernels.chosen()
    except PrunebenchError as error:
        return Finding("problem", "packed", str(error))
    if choice.library is not None:
        return Finding("ok", "packed", f"packed models run on the kernel for {choice.why}")
    return Finding("warning", "packed", f"packed models run by PyTorch alone, which is slow: {choice.why}")


def memory() -> Finding:
    """Check the free memory."""
    machine, limit = psutil.virtual_memory(), memory_limit()
    free, total = (min(size, limit or size) / GIB for size in (machine.available, machine.total))
    text = f"{free:.1f} of {total:.1f} GiB free"
    if free < LITTLE_MEMORY:
        return Finding("warning", "memory", text, "fewer --cores: a job on a 135M model takes up to 1 GiB")
    return Finding("ok", "memory", text)


def disk(directory: Path) -> Finding:
    """Check the free space on the disk of `directory`, which may not exist yet."""
    place = next(parent for parent in (directory.absolute(), *directory.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    level = "problem" if free < NO_DISK else "warning" if free < LITTLE_DISK else "ok"
    if not os.access(place, os.W_OK):
        return Finding("problem", str(directory), "cannot be written to", f"change the permissions of {place}")
    advice = "prunebench gc, or keep_weights: none in the config" if level != "ok" else ""
    return Finding(level, str(directory), f"{free / GIB:.1f} GiB free", advice)


def threads() -> Finding:
    """Report variables of the environment for threads. Jobs set their own."""
    variables = ", ".join(f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ)
    return Finding("ok", "threads", f"{variables or 'no variable set'}; jobs take compute.threads of the config")


def offline() -> Finding:
    """Report whether libraries may ask the Hugging Face hub."""
    value = os.environ.get("HF_HUB_OFFLINE")
    text = (
        f"HF_HUB_OFFLINE={value}" if value else "HF_HUB_OFFLINE is not set: libraries may ask the hub, nothing needs it"
    )
    return Finding("ok", "hub", text)


def snakemake_locks() -> Finding:
    """Check whether a killed snakemake has left its lock on this directory."""
    if locks.stale():
        if records().all_dead:
            return Finding("ok", "lock", f"{locks.LOCKS} is locked by a killed run: the next run removes this lock")
        text = f"{locks.LOCKS} is locked, but nothing on this machine runs snakemake here"
        return Finding("problem", "lock", text, "prunebench unlock, unless it runs on another machine")
    alive = ", ".join(map(str, locks.snakemakes()))
    return Finding("ok", "lock", f"snakemake runs here, process {alive}" if alive else "none")


def code() -> Finding:
    """Check the git revision that results will name."""
    revision = code_revision()
    if revision is None:
        return Finding("warning", "code", "not in a git repository", "results cannot say which code they come from")
    if revision.endswith("-dirty"):
        return Finding(
            "warning", "code", revision, "commit your edits, so that results name code that can be found again"
        )
    return Finding("ok", "code", revision)
