"""Record the gradients of an unpruned model's loss, by weight."""

from argparse import Namespace
from pathlib import Path

from prunebench.runtime import script
from prunebench.runtime.gpus import take_gpus

FILES = ("model", "tokens", "gradients", "measured")


def main(arguments: Namespace) -> None:
    """Run the stage; heavy imports happen here, after the thread counts are set."""
    take_gpus()
    from prunebench.stages.gradients import gradients

    gradients(arguments.spec, **{name: getattr(arguments, name) for name in FILES})


if __name__ == "__main__":
    script.run(__doc__, main, spec=str, **dict.fromkeys(FILES, Path))
