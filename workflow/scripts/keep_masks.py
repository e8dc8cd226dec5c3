"""Keep the masks of a cell whose weights go."""

from argparse import Namespace
from pathlib import Path

from prunebench.runtime import script


def main(arguments: Namespace) -> None:
    """Run the stage; heavy imports happen here, after the thread counts are set."""
    from prunebench.stages.keep_masks import keep_masks

    keep_masks(arguments.weights, arguments.masks)


if __name__ == "__main__":
    script.run(__doc__, main, weights=Path, masks=Path)
