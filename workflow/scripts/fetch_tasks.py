"""Bring the rows of one bundle of tasks here."""

from argparse import Namespace
from pathlib import Path

from prunebench.runtime import script


def main(arguments: Namespace) -> None:
    """Run the stage; heavy imports happen here, after the thread counts are set."""
    from prunebench.stages.fetch_tasks import fetch_tasks

    fetch_tasks(arguments.spec, arguments.asset.parent)


if __name__ == "__main__":
    script.run(__doc__, main, spec=str, asset=Path)
