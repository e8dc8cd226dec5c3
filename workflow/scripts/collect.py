"""Gather every result of a config's studies into one tidy CSV."""

import json
from argparse import Namespace
from pathlib import Path

from prunebench import job


def main(arguments: Namespace) -> None:
    """Run the stage; heavy imports happen here, after the thread counts are set."""
    from prunebench.plan import load_plan
    from prunebench.stages.collect import collect

    spec = json.loads(arguments.spec)
    collect(load_plan(spec["config"], spec["file"]), arguments.cells)


if __name__ == "__main__":
    job.run(__doc__, main, spec=str, cells=Path)
