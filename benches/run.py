"""`make bench`: our versions against the plain one and against the counted floor, all in one run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
import yaml

from benches import commands, floor, report
from benches.cases import Bench, Case
from prunebench import registry
from prunebench.plan.plan import load_plan
from prunebench.storage.files import read_json, write_json

ENOUGH = 180
"""The number of seconds after which a case is not repeated."""


def main(
    quick: Annotated[bool, typer.Option(help="few tokens, no repeats, docs/ untouched: about five minutes")] = False,
    repeats: Annotated[int, typer.Option(help="of each case, unless it takes minutes")] = 3,
    only: Annotated[str, typer.Option(help="cases whose title starts so")] = "",
) -> None:
    """Time every case, print the table, and keep it in docs/performance.{json,md} (of a quick run in results/bench)."""
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        bench = load_bench("quick" if quick else "full", Path(work))
        commands.prepare(bench.inputs)
        rates = measure_rates(bench)
        sizes = floor.read_sizes(
            bench.model, registry.load("models", bench.plan.config.models[bench.dense.model].family)
        )
        cases = [case for case in bench.cases() if case.title.startswith(only)]
        runs = [time_case(case, 1 if quick else repeats) for case in cases]
        # Not before all is timed: a process' peak memory counts from that of the one which started it.
        summaries = [report.summary(case, costs, sizes, rates) for case, costs in zip(cases, runs, strict=True)]
    keep({"machine": report.machine(rates), "cases": summaries}, Path("results/bench" if quick or only else "docs"))
    print(report.table(summaries))


def load_bench(study: str, work: Path) -> Bench:
    """Read a study of study.yaml."""
    return Bench(
        load_plan(yaml.safe_load(Path(commands.STUDIES).read_text(encoding="utf-8")), commands.STUDIES), study, work
    )


def measure_rates(bench: Bench) -> dict[str, float]:
    """Measure operations per second of matrix products, by dtype, in a process like those of the jobs."""
    result = bench.work / "rates.json"
    commands.python("-m", "benches.floor", "--model", str(bench.model), "--result", str(result))
    rates: dict[str, float] = read_json(result)
    return rates


def time_case(case: Case, repeats: int) -> dict[str, list[report.Record]]:
    """Run every version several times, in turns; returns the cost of each run."""
    runs: dict[str, list[report.Record]] = {name: [] for name in case.jobs}
    spent = 0.0
    for _ in range(repeats):
        for name, job in case.jobs.items():
            runs[name].append(job.run())
            spent += runs[name][-1]["seconds"]
            print(f"{case.title}, {name}: {runs[name][-1]['seconds']:.1f} s", flush=True)
        if spent > ENOUGH:
            break
    return runs


def keep(record: report.Record, directory: Path) -> None:
    """Update the JSON file in `directory`, and the table in the document beside it."""
    file = directory / "performance.json"
    write_json(file, (read_json(file) if file.exists() else {}) | record)
    report.insert_into(directory / "performance.md", report.table(record["cases"]))


if __name__ == "__main__":
    typer.run(main)
