"""Reads Snakemake's locks on the working directory, and finds out whether their snakemake still runs."""

from pathlib import Path

import psutil

LOCKS = Path(".snakemake/locks")


def locked_files() -> frozenset[Path]:
    """All files that a run of snakemake has locked, because it reads or writes them."""
    return frozenset(Path(line) for lock in _locks() for line in _text(lock).splitlines())


def snakemakes() -> list[int]:
    """The ids of processes that run snakemake in this directory; none if it is not locked."""
    return [process.pid for process in psutil.process_iter() if _is_snakemake(process)] if _locks() else []


def stale() -> bool:
    """Whether the working directory is locked although no process of this machine runs snakemake in it."""
    return bool(_locks()) and not snakemakes()


def _text(lock: Path) -> str:
    try:
        return lock.read_text(encoding="utf-8")
    except FileNotFoundError:  # its run has just ended
        return ""


def _locks() -> list[Path]:
    return sorted(LOCKS.glob("*.lock"))


def _is_snakemake(process: psutil.Process) -> bool:
    try:
        names = {Path(word).name for word in process.cmdline()[:3]}  # snakemake, or python -m snakemake
        return "snakemake" in names and Path(process.cwd()) == Path.cwd()
    except psutil.Error:
        return False  # it has ended, or belongs to another user
