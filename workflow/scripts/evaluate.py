"""Evaluate one suite on one cell, and print its headline number."""

from argparse import Namespace
from pathlib import Path

from prunebench.runtime import script
from prunebench.runtime.gpus import take_gpus


def main(arguments: Namespace) -> str:
    """Run the stage; heavy imports happen here, after the thread counts are set."""
    take_gpus()
    from prunebench.stages.evaluate import evaluate

    headline = evaluate(
        arguments.spec,
        assets=arguments.assets,
        **{key: getattr(arguments, key) for key in ("model", "pruned", "weights", "result", "measured")},
    )
    return f"{arguments.cell}: {headline}"


if __name__ == "__main__":
    files = dict.fromkeys(("model", "pruned", "weights", "result", "measured"), Path)
    script.run(__doc__, main, spec=str, cell=str, assets=(Path, ...), **files)
