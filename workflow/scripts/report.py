"""Write the report of all studies of a config."""

import json
from argparse import Namespace
from pathlib import Path

from prunebench.runtime import script


def main(arguments: Namespace) -> None:
    """Run the stage; heavy imports happen here, after the thread counts are set."""
    from prunebench.plan.plan import load_plan
    from prunebench.stages.report import write_report

    spec = json.loads(arguments.spec)
    write_report(load_plan(spec["config"], spec["file"]), arguments.cells, arguments.output)


if __name__ == "__main__":
    script.run(__doc__, main, spec=str, cells=Path, output=Path)
