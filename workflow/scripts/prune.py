"""Prune one cell."""

from argparse import Namespace
from pathlib import Path

from prunebench.runtime import script
from prunebench.runtime.gpus import take_gpus

FILES = ("model", "allocation", "weights", "result", "measured")
OPTIONAL = {"tokens": (Path, None), "gradients": (Path, None), "assets": (Path, ...)}


def main(arguments: Namespace) -> None:
    """Run the stage; heavy imports happen here, after the thread counts are set."""
    take_gpus()
    from prunebench.stages.prune import prune

    script.log.info(prune(arguments.spec, **{key: getattr(arguments, key) for key in (*FILES, *OPTIONAL)}))


if __name__ == "__main__":
    script.run(__doc__, main, spec=str, **OPTIONAL, **dict.fromkeys(FILES, Path))
