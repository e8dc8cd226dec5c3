"""Decide how sparse each linear of a model is to be."""

from argparse import Namespace
from pathlib import Path

from prunebench.runtime import script
from prunebench.runtime.gpus import take_gpus

FILES = ("model", "allocation", "measured")
OPTIONAL = ("profile", "search", "tokens")


def main(arguments: Namespace) -> None:
    """Run the stage; heavy imports happen here, after the thread counts are set."""
    if arguments.tokens:
        take_gpus()
    from prunebench.stages.allocate import allocate

    allocate(arguments.spec, **{name: getattr(arguments, name) for name in (*FILES, *OPTIONAL)})


if __name__ == "__main__":
    script.run(__doc__, main, spec=str, **dict.fromkeys(FILES, Path), **dict.fromkeys(OPTIONAL, (Path, None)))
