"""Says in a few lines that a job has failed, why, and where its log is."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prunebench.plan import graph
from prunebench.plan.jobs.base import Job
from prunebench.view.logs import tail

LINES = 6
"""The largest number of lines of an error that are shown. An error may list several mistakes, one a line."""
ERROR = "error: "
FRAME = r'^  File "(.+)", line (\d+)'
"""The place of a step of a traceback."""
TRACEBACK = "Traceback (most recent call last)"


def failure(details: Mapping[str, Any]) -> str | None:
    """Tell of a job that failed, or of a group of jobs, from the `details` that Snakemake logs; None of a group's rest.

    After a group Snakemake names all its jobs, also the jobs that are done and the jobs that were not begun.
    """
    if "groupid" in details:
        return told(f"group {details['groupid']}", details["aux_logs"])
    job = next(_makers(details["log"]), None)
    if details["indent"] and job and (job.done or not job.log.exists()):
        return None
    return told(details["rule_name"], details["log"], details["rule_msg"])


def told(rule: str, logs: Sequence[str], message: str | None = None) -> str:
    """Tell of a job of `rule` that failed. `message` is what a scheduler says of it."""
    job = next(_makers(logs), None)
    why = next(map(reason, map(Path, filter(_is_file, logs))), "")
    files = [f"log: {log}" for log in logs]
    return "\n    ".join([f"Error in {job or rule}:", *filter(None, [why, message]), *files])


def reason(log: Path) -> str:
    """Find the error with which the job that wrote `log` ended."""
    lines = tail(log, None)
    starts = [number for number, line in enumerate(lines) if line.startswith(ERROR)]
    if starts:
        error = lines[starts[-1] :]
        more = [f"  and {len(error) - LINES} more lines"] if len(error) > LINES else []
        return "\n    ".join([*error[:LINES], *more])
    last = next(reversed(lines), "nothing")
    if any(line.startswith(TRACEBACK) for line in lines):
        (*_, (file, number)) = [("", ""), *re.findall(FRAME, "\n".join(lines), re.MULTILINE)]
        return f"{last} ({os.path.relpath(file)}, line {number})" if file else last
    return f"{ERROR}the job stopped without an error of its own, as if it was killed; its last words: {last}"


def _makers(logs: Sequence[str]) -> Iterator[Job]:
    """Find the jobs that write `logs`. The logs of a scheduler belong to none."""
    return filter(None, map(graph.maker, map(Path, logs)))


def _is_file(name: str) -> bool:
    return Path(name).is_file()
