"""Decide how sparse each linear of a model is to be."""

from argparse import Namespace
from pathlib import Path

from prunebench import job


def main(arguments: Namespace) -> None:
    """Run the stage; heavy imports happen here, after the thread counts are set."""
    from prunebench.stages.allocate import allocate

    allocate(arguments.spec, arguments.model, arguments.profile, arguments.allocation, arguments.tokens)


if __name__ == "__main__":
    optional = (Path, None)
    job.run(__doc__, main, spec=str, model=Path, profile=optional, tokens=optional, allocation=Path)
