"""Write one figure of one study in all its formats."""

import json
from argparse import Namespace
from pathlib import Path

from prunebench.runtime import script


def main(arguments: Namespace) -> None:
    """Run the stage; heavy imports happen here, after the thread counts are set."""
    from prunebench.plan.plan import load_plan
    from prunebench.stages.figures import write_figure

    spec = json.loads(arguments.spec)
    plan = load_plan(spec["config"], spec["file"])
    write_figure(plan, arguments.cells, arguments.study, arguments.figure, arguments.outputs)


if __name__ == "__main__":
    script.run(__doc__, main, spec=str, cells=Path, study=str, figure=str, outputs=(Path, ...))
