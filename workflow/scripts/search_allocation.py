"""Search for an allocation, from one seed."""

from argparse import Namespace
from pathlib import Path

from prunebench.runtime import script
from prunebench.runtime.gpus import take_gpus

FILES = ("model", "corpus", "profile", "result", "history", "measured")


def main(arguments: Namespace) -> str:
    """Run the stage; heavy imports happen here, after the thread counts are set."""
    take_gpus()
    from prunebench.stages.search_allocation import search_allocation

    return search_allocation(arguments.spec, **{name: getattr(arguments, name) for name in FILES})


if __name__ == "__main__":
    script.run(__doc__, main, spec=str, **dict.fromkeys(FILES, Path))
