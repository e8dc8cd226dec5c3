"""Mistakes that SLURM would show one job at a time, or only by never starting one: looked for before any job.

Light, as the Snakefile uses it. Knows of the cluster what sinfo and sacctmgr say, and nothing where they are not.
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
class Request:
    """What a job asks for. None: the cluster's default."""

    rule: str
    partition: str | None = None
    account: str | None = None
    gpus: int = 0
    minutes: int = 0
    memory: int = 0
    """MB, as SLURM calls what are MiB."""

    @classmethod
    def of(cls, rule: str, resources: Mapping[str, Any]) -> "Request":
        """The request of a job with these resources of Snakemake's; what is not known yet counts as nothing."""
        numbers = (resources.get(key) for key in ("gpu", "runtime", "mem_mb"))
        sizes = (number if isinstance(number, int) else 0 for number in numbers)
        return cls(rule, resources.get("slurm_partition"), resources.get("slurm_account"), *sizes)


@dataclass(frozen=True)
class Partition:
    """What a partition has; of memory and GPUs, the most that one of its nodes has."""

    name: str
    default: bool
    gpus: int
    minutes: float
    memory: int


def check(requests: Sequence[Request], attempts: int = 1) -> list[str]:
    """Raise a PrunebenchError with everything that is wrong with `requests`, as far as the cluster's tools tell.

    Returns what would be wrong with the last of `attempts`, each of which asks for more memory and time.
    """
    found = partitions()
    if not found:
        return []
    known = accounts()
    wrong = list(dict.fromkeys(mistakes(requests, found, known)))
    if wrong:
        raise PrunebenchError("\n".join(wrong))
    last = (replace(job, minutes=attempts * job.minutes, memory=attempts * job.memory) for job in requests)
    return [f"Tried again after a failure, {text}" for text in dict.fromkeys(mistakes(last, found, known))]


def mistakes(requests: Iterable[Request], partitions: list[Partition], accounts: list[str] | None) -> Iterator[str]:
    """What is wrong, and what to change, in words. `accounts` None: jobs need none, or it is not known."""
    known = {partition.name: partition for partition in partitions}
    default = next((partition for partition in partitions if partition.default), None)
    for job in requests:
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
    """What is asked for of several partitions may be in any: the most that one of them has, of each."""
    most = (max(getattr(one, name) for one in partitions) for name in ("gpus", "minutes", "memory"))
    return Partition(",".join(one.name for one in partitions), False, *most)


def _unknown_account(account: str | None, accounts: list[str]) -> str:
    if not accounts:
        return "SLURM runs only jobs of an account here, and you have none. Ask those who run the cluster for one"
    hint = did_you_mean(str(account), accounts)
    return f"Change slurm_account in {PROFILE}: you have no SLURM account {account!r}{hint}"


def partitions() -> list[Partition]:
    """All partitions; none where sinfo is not or does not answer."""
    found: dict[str, Partition] = {}
    for line in _lines("sinfo", "--noheader", "--all", "--exact", "--format=%P|%G|%l|%m") or ():
        name, gres, limit, memory = line.split("|")
        one = Partition(name.rstrip("*"), name.endswith("*"), _gpus(gres), _minutes(limit), int(memory.rstrip("+")))
        same = found.get(one.name, one)
        found[one.name] = Partition(
            one.name, one.default, max(one.gpus, same.gpus), one.minutes, max(one.memory, same.memory)
        )
    return list(found.values())


def accounts() -> list[str] | None:
    """The accounts that the user's jobs may be counted to; None where jobs need none, or it cannot be known."""
    settings = _lines("scontrol", "show", "config") or ()
    if not any(re.match(r"AccountingStorageEnforce\s*=.*associations", line) for line in settings):
        return None
    query = ("show", "associations", f"user={getpass.getuser()}", "format=account")
    found = _lines("sacctmgr", "--noheader", "--parsable2", *query)
    return found and sorted({*found})


def _gpus(gres: str) -> int:
    """GPUs in a list such as gpu:a100:4(S:0-1),shard:8."""
    return sum(int(count) for count in re.findall(r"(?:^|,)gpu:(?:[^:,()]+:)?(\d+)", gres))


def _minutes(limit: str) -> float:
    """Minutes of a time limit such as 1-12:00:00, 30:00 or infinite."""
    if not limit[:1].isdigit():
        return float("inf")
    days, _, clock = limit.rpartition("-")
    hours, minutes, seconds = ([0, 0, 0] + [int(part) for part in clock.split(":")])[-3:]
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def _lines(*command: str) -> list[str] | None:
    """What a program of SLURM prints; None where it is not, fails, or does not answer."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.split("\n")[:-1]
