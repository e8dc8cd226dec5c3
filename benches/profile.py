"""`python -m benches.profile`: the CPU time of prune jobs by part of the work; a table of docs/performance.md.

By cProfile with the clock of the process: calls of the functions in PARTS are counted with all that they call.
"""

from __future__ import annotations

import cProfile
import pstats
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import torch
import yaml
from tabulate import tabulate

from benches import commands
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import load_plan
from prunebench.stages.run import run

STUDY = "quick"
FORWARD = (("activations.py", "run"),)
SELECTION = (("sparsegpt.py", "_select"), ("wanda.py", "mask"))
PARTS: dict[str, tuple[tuple[str, str], ...]] = {
    "linears of the forward passes": (("~", "<built-in method torch._C._nn.linear>"),),
    "attention": (
        ("~", "<built-in method torch._C._nn.scaled_dot_product_attention>"),
        ("attention.py", "causal_attention"),
    ),
    "statistics": (("statistics.py", "add"),),
    "factorisation": (("obs.py", "inverse_factor"),),
    "elimination": (("obs.py", "eliminate"),),
    "scores, masks": SELECTION,
    "rounding, counting, packing, writing": (
        ("loop.py", "_stored"),
        ("loop.py", "_count"),
        ("finished_blocks.py", "save"),
    ),
    "reconstruction errors": (("loop.py", "reconstruction_error"),),
}
"""The (file, function) pairs of each part; the outermost call counts for a function that calls itself."""
NESTED = {"elimination": SELECTION}
"""The parts inside other parts, whose time is taken out of the outer one."""
REST_OF_FORWARD = "norms, rotary embedding, activation, residuals"


def main() -> None:
    """Profile every prune job of the quick study, and print a column for each."""
    torch.set_num_threads(commands.THREADS)
    plan = load_plan(yaml.safe_load(Path(commands.STUDIES).read_text(encoding="utf-8")), commands.STUDIES)
    cells = [cell for cell in plan.studies[STUDY].cells if cell.method != "dense"]
    jobs = [plan.job("prune", **cell.wildcards) for cell in cells]
    commands.prepare([str(job.input(name)) for job in jobs for name in ("tokens", "allocation")])
    columns = {cell.method: shares(profile(job)) for cell, job in zip(cells, jobs, strict=True)}
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    rows = [[name, *(column.get(name, "") for column in columns.values())] for name in names]
    print(tabulate(rows, ["", *columns], tablefmt="pipe", floatfmt=".0f"))


def profile(job: Job) -> pstats.Stats:
    """Profile one prune job, run in this process; its results are thrown away."""
    profiler = cProfile.Profile(time.process_time)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        profiler.runcall(
            run,
            job,
            weights=directory / "weights.safetensors",
            result=directory / "result.json",
            measured=directory / "measured.json",
        )
    return pstats.Stats(profiler)


def shares(stats: pstats.Stats) -> dict[str, float]:
    """Compute the CPU seconds, and the per cent of them that each part takes; absent parts are left out."""
    total: float = stats.total_tt  # type: ignore[attr-defined]
    seconds = {part: spent(stats, functions) for part, functions in PARTS.items()}
    for part, inner in NESTED.items():
        seconds[part] -= min(seconds[part], spent(stats, inner))
    # Statistics are taken by hooks, inside the forward pass.
    around = sum(seconds[part] for part in ("linears of the forward passes", "attention", "statistics"))
    seconds[REST_OF_FORWARD] = spent(stats, FORWARD) - around
    seconds["the rest: loading, returning memory, Python"] = total - sum(seconds.values())
    return {"CPU seconds": total} | {part: 100 * share / total for part, share in seconds.items() if share}


def spent(stats: pstats.Stats, functions: Iterable[tuple[str, str]]) -> float:
    """Sum the seconds in `functions` and everything that they call."""
    return sum(
        cumulative
        for (file, _, function), (_, _, _, cumulative, _) in stats.stats.items()  # type: ignore[attr-defined]
        if (Path(file).name, function) in functions
    )


if __name__ == "__main__":
    main()
