"""Train one model from random weights."""

from argparse import Namespace
from pathlib import Path

from prunebench.runtime import script
from prunebench.runtime.gpus import take_gpus

FILES = ("training", "measured")


def main(arguments: Namespace) -> str:
    """Run the stage; heavy imports happen here, after the thread counts are set."""
    take_gpus()
    from prunebench.stages.train_model import train_model

    return train_model(arguments.spec, arguments.corpora, **{key: getattr(arguments, key) for key in FILES})


if __name__ == "__main__":
    script.run(__doc__, main, spec=str, corpora=(Path, ...), **dict.fromkeys(FILES, Path))
