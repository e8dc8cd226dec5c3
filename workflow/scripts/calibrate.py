"""Draw the calibration tokens that all methods of a study share."""

from argparse import Namespace
from pathlib import Path

from prunebench.runtime import script


def main(arguments: Namespace) -> None:
    """Run the stage; heavy imports happen here, after the thread counts are set."""
    from prunebench.stages.calibrate import calibrate

    calibrate(arguments.spec, arguments.model, arguments.corpus, arguments.tokens, arguments.record)


if __name__ == "__main__":
    script.run(__doc__, main, spec=str, model=Path, corpus=Path, tokens=Path, record=Path)
