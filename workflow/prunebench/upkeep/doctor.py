"""Checks this machine and this environment for causes of trouble, and says what to do about each."""

import importlib.util
import os
import platform
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from prunebench.errors import PrunebenchError
from prunebench.plan.slurm import partitions
from prunebench.runtime.cgroups import cpu_limit, memory_limit
from prunebench.runtime.provenance import code_revision, version
from prunebench.runtime.script import THREAD_VARIABLES
from prunebench.upkeep import locks

GIB = 2**30
LITTLE_DISK, NO_DISK = 20 * GIB, 2 * GIB
LITTLE_MEMORY = 2


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    level: str
    """ok, warning (it works, but not well) or problem (it will fail)."""
    subject: str
    text: str
    advice: str = ""


def examine(root: Path) -> Iterator[Finding]:
    """Make all checks. Raises PrunebenchError if `root` is no copy of the repository, which lists the requirements."""
    if not (root / "pyproject.toml").is_file() or not (root / "constraints.txt").is_file():
        raise PrunebenchError(
            f"{root} is no copy of prunebench's repository, whose requirements are looked at: install the package from "
            "one, with pip install -e ."
        )
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    constraints = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    yield python(project["requires-python"])
    yield from packages(project["dependencies"], [line for line in constraints if line and not line.startswith("#")])
    yield from (look() for look in (pip, gpu, slurm, cpus, bfloat16, memory))
    yield from map(disk, (Path("results"), Path("resources")))
    yield from (look() for look in (threads, offline, snakemake_locks, code))


def python(wanted: str) -> Finding:
    """Check that the version of Python is one of `wanted`, such as >=3.11."""
    found = platform.python_version()
    if SpecifierSet(wanted).contains(found, prereleases=True):
        return Finding("ok", "python", found)
    return Finding("problem", "python", f"{found}, but {wanted} is needed", "make an environment with another Python")


def packages(requirements: list[str], pins: list[str]) -> Iterator[Finding]:
    """Check that each required package is installed, is new enough, and has the version that the tests ran with."""
    tested = {pin.name: pin.specifier for pin in map(Requirement, pins)}
    as_tested = []
    for requirement in map(Requirement, requirements):
        name, found = requirement.name, version(requirement.name)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            text = f"{found or 'not installed'}, but {requirement.specifier} is needed"
            yield Finding("problem", name, text, "pip install -c constraints.txt -e .")
        elif name in tested and not tested[name].contains(found.partition("+")[0]):
            advice = "numbers may differ in their last digits; pip install -c constraints.txt -e ."
            yield Finding("warning", name, f"{found}; the tests were run with {tested[name]}", advice)
        else:
            as_tested.append(name)
    yield Finding("ok", "packages", f"{len(as_tested)} of {len(requirements)} as tested")


def pip() -> Finding:
    """Check that the environment has pip, which downloads models and text."""
    if importlib.util.find_spec("pip"):
        return Finding("ok", "pip", version("pip") or "")
    return Finding("problem", "pip", "not in this environment: nothing can be downloaded", "python -m ensurepip")


def gpu() -> Finding:
    """Check that torch can use the GPU, if the machine has one."""
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties().total_memory / GIB
        return Finding("ok", "GPU", f"{torch.cuda.get_device_name()}, {memory:.0f} GiB, CUDA {torch.version.cuda}")
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return Finding("ok", "GPU", "none: everything runs on the CPU")
    if torch.version.cuda is None:
        return Finding(
            "problem", "GPU", "there is one, but this torch is built for CPUs", "install a CUDA build of torch"
        )
    advice = f"look at nvidia-smi: the driver must support CUDA {torch.version.cuda}"
    return Finding("problem", "GPU", "there is one, but torch cannot use it", advice)


def slurm() -> Finding:
    """Check that Snakemake can submit jobs to SLURM, if the machine has SLURM."""
    found = partitions()
    if not found:
        return Finding("ok", "SLURM", "none")
    text = ", ".join(f"{partition.name} ({partition.gpus} GPUs a node)" for partition in found)
    if version("snakemake-executor-plugin-slurm") is None:
        advice = "pip install -c constraints.txt -e '.[slurm]', then --workflow-profile profiles/slurm"
        return Finding("warning", "SLURM", f"{text}; Snakemake cannot use it yet", advice)
    return Finding("ok", "SLURM", f"{text}; --workflow-profile profiles/slurm")


def cpus() -> Finding:
    """Check that no limit forbids the use of all visible processors, which snakemake --cores all would use."""
    usable, limit = len(os.sched_getaffinity(0)), cpu_limit()
    if limit is not None and limit < usable:
        text = f"{usable} visible, but this container or job is limited to {limit:g}"
        return Finding("warning", "CPUs", text, f"snakemake --cores {max(1, int(limit))}, not --cores all")
    return Finding("ok", "CPUs", f"{usable} of {psutil.cpu_count()}")


def bfloat16() -> Finding:
    """Check that the CPU has instructions that multiply bfloat16."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    if fast := sorted(flags & {"avx512_bf16", "amx_bf16", "bf16"}):
        return Finding("ok", "bfloat16", f"fast on this CPU ({', '.join(fast)})")
    advice = "compute: {dtype: float32} in the config may be faster; it is another number, not a better one"
    return Finding("warning", "bfloat16", "slow on this CPU", advice)


def memory() -> Finding:
    """Check that enough main memory is free."""
    machine, limit = psutil.virtual_memory(), memory_limit()
    free, total = (min(size, limit or size) / GIB for size in (machine.available, machine.total))
    text = f"{free:.1f} of {total:.1f} GiB free"
    if free < LITTLE_MEMORY:
        return Finding("warning", "memory", text, "fewer --cores: a job on a 135M model takes up to 1 GiB")
    return Finding("ok", "memory", text)


def disk(directory: Path) -> Finding:
    """Check that `directory` is or will be on a disk with enough free space, and that it can be written to."""
    place = next(parent for parent in (directory.absolute(), *directory.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    level = "problem" if free < NO_DISK else "warning" if free < LITTLE_DISK else "ok"
    if not os.access(place, os.W_OK):
        return Finding("problem", str(directory), "cannot be written to", f"change the permissions of {place}")
    advice = "prunebench gc, or keep_weights: none in the config" if level != "ok" else ""
    return Finding(level, str(directory), f"{free / GIB:.1f} GiB free", advice)


def threads() -> Finding:
    """Report the environment variables that limit threads. Jobs set their own values."""
    found = ", ".join(f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ)
    return Finding("ok", "threads", f"{found or 'no variable set'}; jobs take compute.threads of the config")


def offline() -> Finding:
    """Report whether libraries may contact the Hugging Face hub."""
    found = os.environ.get("HF_HUB_OFFLINE")
    text = (
        f"HF_HUB_OFFLINE={found}" if found else "HF_HUB_OFFLINE is not set: libraries may ask the hub, nothing needs it"
    )
    return Finding("ok", "hub", text)


def snakemake_locks() -> Finding:
    """Check that no killed snakemake has left a lock on the working directory."""
    if locks.stale():
        text = f"{locks.LOCKS} is locked, but nothing on this machine runs snakemake here"
        return Finding("problem", "lock", text, "snakemake --unlock, unless it runs on another machine")
    alive = ", ".join(map(str, locks.snakemakes()))
    return Finding("ok", "lock", f"snakemake runs here, process {alive}" if alive else "none")


def code() -> Finding:
    """Check that results can name the git revision of the code."""
    found = code_revision()
    if found is None:
        return Finding("warning", "code", "not in a git repository", "results cannot say which code they come from")
    if found.endswith("-dirty"):
        return Finding("warning", "code", found, "commit your edits, so that results name code that can be found again")
    return Finding("ok", "code", found)
