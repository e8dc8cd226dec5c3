"""The CPUs of this process, and the limits of a container or a batch system for it, from its Linux control groups."""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def visible_cpus() -> int:
    """The number of CPUs that this process sees, which are all cores to snakemake, with or without a limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_limit() -> float | None:
    """The number of CPUs that this process may use, or None without a limit."""
    limits = []
    for group in _groups("cpu"):
        words = _words(group / "cpu.max") or _words(group / "cpu.cfs_quota_us") + _words(group / "cpu.cfs_period_us")
        if words and words[0] not in ("max", "-1"):
            limits.append(int(words[0]) / int(words[1]))
    return min(limits, default=None)


def memory_limit() -> int | None:
    """The number of bytes of memory that this process may use, or None without a limit."""
    words = (_words(group / "memory.max") or _words(group / "memory.limit_in_bytes") for group in _groups("memory"))
    return min((int(word[0]) for word in words if word and word[0] != "max"), default=None)


def _groups(controller: str) -> Iterator[Path]:
    """The group of this process and its parents, in version 2 (one hierarchy) or 1 (one per controller)."""
    for line in MEMBERSHIP.read_text().splitlines() if MEMBERSHIP.exists() else ():
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            base = CGROUPS / controller if controllers else CGROUPS
            group = base / path.strip("/")
            yield from (place for place in (group, *group.parents) if place.is_relative_to(base) and place.is_dir())


def _words(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []
