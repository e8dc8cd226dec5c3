"""Pick the best that the seeds of a search have found."""

from argparse import Namespace
from pathlib import Path

from prunebench.runtime import script


def main(arguments: Namespace) -> str:
    """Run the stage."""
    from prunebench.stages.gather_search import gather_search

    return gather_search(arguments.spec, arguments.results, arguments.best)


if __name__ == "__main__":
    script.run(__doc__, main, spec=str, results=(Path, ...), best=Path)
