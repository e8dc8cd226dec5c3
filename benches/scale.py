"""The CPU time and memory of everything that looks at a whole study, for studies of thousands of cells.

python -m benches.scale 2550 10050, in the repository, makes up studies of so many cells (see finished_study) in a
temporary directory, and prints a table; with --dry-run it plans them only. The floor is what Snakemake itself takes for
as many jobs of as many files, whose rules (floor.smk) have no function of ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import chdir
from pathlib import Path

import yaml
from tabulate import tabulate

from benches import finished_study
from prunebench.plan.plan import read_plan

REPOSITORY = Path(__file__).parents[1]
WORKFLOW = ("Snakefile", "rules", "workflow", "config", "profiles", "environment.yml")
STUDY = "large.yaml"
STAGE = """
import sys
from pathlib import Path
from prunebench.plan.jobs import rule_class
from prunebench.plan.plan import read_plan
from prunebench.stages.run import run
plan = read_plan(Path("large.yaml"))
for wildcards in rule_class(sys.argv[1]).wanted(plan):
    run(plan.job(sys.argv[1], **wildcards))
"""
COMMAND = "from prunebench.cli import app; app()"
STAGES = ("collect", "tables", "figures", "report")
CELL = f"made_up/wanda/owl/unstructured-s0.50/{finished_study.CALIBRATION}-seed0"
VIEWS = {"plan": ["plan"], "status": ["status"], "gc": ["gc"], "show": ["show", CELL]}


def cost(directory: Path, *words: str) -> tuple[float, float]:
    """Run Python with the arguments `words` in `directory`; returns (CPU seconds, peak memory in MB)."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "workflow"), "HF_HUB_OFFLINE": "1"}
    # A process between, whose only child is the command: the largest child of this process may be an earlier one.
    between = "import resource, subprocess, sys\nrun = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
    between += "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
    between += "print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)\nsys.exit(run.returncode)"
    command = [sys.executable, "-c", between, sys.executable, *words]
    run = subprocess.run(command, cwd=directory, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    seconds, memory = map(float, run.stdout.split())
    return seconds, memory


def measure(cells: int, directory: Path, *, only_plan: bool = False) -> list[list[object]]:
    """Measure all commands on a study of `cells` cells, made up in `directory`: rows (cells, what, seconds, MB)."""
    for name in WORKFLOW:
        (directory / name).symlink_to(REPOSITORY / name)
    (directory / STUDY).write_text(yaml.safe_dump(finished_study.config(cells)))
    (directory / "floor").mkdir()
    dry = ("-m", "snakemake", "--dry-run", "--quiet", "all")
    rows: list[list[object]] = []

    def add(what: str, where: Path, *words: str) -> None:
        rows.append([cells, what, *cost(where, *words)])
        print(*rows[-1], file=sys.stderr, flush=True)

    add("snakemake -n, nothing done", directory, *dry, "--configfile", STUDY)
    alone = ("--snakefile", str(REPOSITORY / "benches/floor.smk"), "--config", f"seeds={cells // finished_study.DRAW}")
    add("floor: Snakemake alone", directory / "floor", *dry, *alone)
    if only_plan:
        return rows
    with chdir(directory):
        finished_study.finish(read_plan(Path(STUDY)))
    for stage in STAGES:
        add(stage, directory, "-c", STAGE, stage)
    for name, words in VIEWS.items():
        add(f"prunebench {name}", directory, "-c", COMMAND, *words, "--configfile", STUDY)
    page = (directory / "results/of/large/report/index.html").stat().st_size / 2**20
    print(f"{cells} cells: the report has {page:.1f} MB", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Measure studies of the sizes that the command line names, and print a row for each command."""
    rows = []
    sizes = [int(word) for word in sys.argv[1:] if word != "--dry-run"]
    for cells in sizes or [2550]:
        with tempfile.TemporaryDirectory() as directory:
            rows += measure(cells, Path(directory), only_plan="--dry-run" in sys.argv)
    heads = ["cells", "", "CPU seconds", "MB"]
    print(tabulate(rows, headers=heads, tablefmt="github", floatfmt=(".0f", "", ".1f", ".0f")))


if __name__ == "__main__":
    main()
