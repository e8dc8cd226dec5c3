"""Finds mistakes in what jobs ask of SLURM before any job is submitted.

SLURM itself would show them one job at a time, or by never starting a job. What the cluster has is read from sinfo,
scontrol and sacctmgr; where these programs do not exist, nothing is checked. The Snakefile uses this module, so it does
not import torch.
"""

import getpass
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prunebench.errors import PrunebenchError
from prunebench.registry import did_you_mean

PROFILE = "profiles/slurm/config.yaml"


@dataclass(frozen=True)
class Demand:
    """The resources that a job asks SLURM for. None means the cluster's default."""

    rule: str
    partition: str | None = None
    account: str | None = None
    gpus: int = 0
    minutes: int = 0
    memory: int = 0
    """MiB, which SLURM calls MB."""

    @classmethod
    def of(cls, rule: str, resources: Mapping[str, Any]) -> "Demand":
        """The demand of a job with these resources of Snakemake. A number that is not known yet counts as 0."""
        numbers = (resources.get(key) for key in ("gpu", "runtime", "mem_mb"))
        sizes = (number if isinstance(number, int) else 0 for number in numbers)
        return cls(rule, resources.get("slurm_partition"), resources.get("slurm_account"), *sizes)


@dataclass(frozen=True)
class Partition:
    """The limits of a partition. `gpus` and `memory` (MiB) are the largest that one of its nodes has."""

    name: str
    default: bool
    gpus: int
    minutes: float
    memory: int


def check(demands: Sequence[Demand], attempts: int = 1) -> list[str]:
    """Return warnings about the last of `attempts`, as each attempt asks for more memory and time than the one before.

    Raises PrunebenchError with everything that is wrong with `demands` at the first attempt.
    """
    existing = partitions()
    if not existing:
        return []
    known = accounts()
    wrong = list(dict.fromkeys(mistakes(demands, existing, known)))
    if wrong:
        raise PrunebenchError("\n".join(wrong))
    last = (replace(job, minutes=attempts * job.minutes, memory=attempts * job.memory) for job in demands)
    return [f"Tried again after a failure, {text}" for text in dict.fromkeys(mistakes(last, existing, known))]


def mistakes(demands: Iterable[Demand], partitions: list[Partition], accounts: list[str] | None) -> Iterator[str]:
    """Say what is wrong and what to change. `accounts` is None if jobs need no account, or if that is not known."""
    known = {partition.name: partition for partition in partitions}
    default = next((partition for partition in partitions if partition.default), None)
    for job in demands:
        if accounts == [] or (accounts and job.account and job.account not in accounts):
            yield _unknown_account(job.account, accounts)
        named = job.partition.split(",") if job.partition else []
        unknown = [name for name in named if name not in known]
        for name in unknown:
            yield f"Change slurm_partition in {PROFILE}: SLURM has no partition {name!r}{did_you_mean(name, known)}"
        if unknown:
            continue
        partition = _joined([known[name] for name in named]) if named else default
        if partition is None:
            yield f"SLURM has no default partition. Set slurm_partition in {PROFILE} (there is: {', '.join(known)})"
            continue
        for asked, has, unit, key in (
            (job.gpus, partition.gpus, "GPUs on a node", "gpu"),
            (job.memory, partition.memory, "MB on a node", "mem_mb"),
            (job.minutes, partition.minutes, "minutes", "runtime"),
        ):
            if asked > has:
                yield (
                    f"{job.rule} asks for {asked} {unit}, partition {partition.name!r} has {has:.0f}. In {PROFILE} "
                    f"name another slurm_partition, or ask for less: "
                    f"set-resources: {{{job.rule}: {{{key}: {has:.0f}}}}}"
                )


def _joined(partitions: list[Partition]) -> Partition:
    """A partition that stands for several, as a job may run in any of them: of each limit it has the largest."""
    largest = (max(getattr(partition, name) for partition in partitions) for name in ("gpus", "minutes", "memory"))
    return Partition(",".join(partition.name for partition in partitions), False, *largest)


def _unknown_account(account: str | None, accounts: list[str]) -> str:
    if not accounts:
        return "SLURM runs only jobs of an account here, and you have none. Ask its administrators for one"
    hint = did_you_mean(str(account), accounts)
    return f"Change slurm_account in {PROFILE}: you have no SLURM account {account!r}{hint}"


def partitions() -> list[Partition]:
    """All partitions of the cluster. The list is empty where sinfo does not exist or does not answer."""
    known: dict[str, Partition] = {}
    for line in _lines("sinfo", "--noheader", "--all", "--exact", "--format=%P|%G|%l|%m") or ():
        name, gres, limit, memory = line.split("|")
        partition = Partition(
            name.rstrip("*"), name.endswith("*"), _gpus(gres), _minutes(limit), int(memory.rstrip("+"))
        )
        same = known.get(partition.name, partition)
        largest = {key: max(getattr(partition, key), getattr(same, key)) for key in ("gpus", "memory")}
        known[partition.name] = replace(partition, **largest)
    return list(known.values())


def accounts() -> list[str] | None:
    """The accounts that the user's jobs may be charged to; None if jobs need no account, or if that is not known."""
    settings = _lines("scontrol", "show", "config") or ()
    if not any(re.match(r"AccountingStorageEnforce\s*=.*associations", line) for line in settings):
        return None
    query = ("show", "associations", f"user={getpass.getuser()}", "format=account")
    names = _lines("sacctmgr", "--noheader", "--parsable2", *query)
    return names and sorted({*names})


def _gpus(gres: str) -> int:
    """The number of GPUs in a list such as gpu:a100:4(S:0-1),shard:8."""
    return sum(int(count) for count in re.findall(r"(?:^|,)gpu:(?:[^:,()]+:)?(\d+)", gres))


def _minutes(limit: str) -> float:
    """The minutes of a time limit such as 1-12:00:00, 30:00 or infinite."""
    if not limit[:1].isdigit():
        return float("inf")
    days, _, clock = limit.rpartition("-")
    hours, minutes, seconds = ([0, 0, 0] + [int(part) for part in clock.split(":")])[-3:]
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def _lines(*command: str) -> list[str] | None:
    """The lines that a program of SLURM prints; None if it does not exist, fails, or does not answer."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.split("\n")[:-1]
