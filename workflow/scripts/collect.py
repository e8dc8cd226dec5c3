"""Gather every result of a config's studies into one tidy CSV; with --tables, make and print what rests on it."""

import json
from argparse import Namespace
from pathlib import Path

from prunebench.runtime import script


def main(arguments: Namespace) -> None:
    """Run the stage; heavy imports happen here, after the thread counts are set."""
    from prunebench.plan.plan import load_plan
    from prunebench.stages.collect import collect
    from prunebench.stages.outputs import write_outputs

    spec = json.loads(arguments.spec)
    plan = load_plan(spec["config"], spec["file"])
    collect(plan, arguments.cells)
    if arguments.tables:
        for table in write_outputs(plan, arguments.cells):
            print(table.read_text(encoding="utf-8"))


if __name__ == "__main__":
    script.run(__doc__, main, spec=str, cells=Path, tables=(bool, False))
