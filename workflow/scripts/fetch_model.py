"""Bring one model here: download or locate, convert, check, and write its asset.json."""

from argparse import Namespace
from pathlib import Path

from prunebench.runtime import script


def main(arguments: Namespace) -> None:
    """Run the stage; heavy imports happen here, after the thread counts are set."""
    from prunebench.stages.fetch_model import fetch_model

    fetch_model(arguments.spec, arguments.asset.parent, arguments.training)


if __name__ == "__main__":
    script.run(__doc__, main, spec=str, asset=Path, training=(Path, None))
