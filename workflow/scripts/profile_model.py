"""Record the input norms of every site of an unpruned model.

Not called profile.py: beside the scripts that would hide the standard library's module.
"""

from argparse import Namespace
from pathlib import Path

from prunebench.runtime import script
from prunebench.runtime.gpus import take_gpus

FILES = ("model", "tokens", "profile", "measured")


def main(arguments: Namespace) -> None:
    """Run the stage; heavy imports happen here, after the thread counts are set."""
    take_gpus()
    from prunebench.stages.profile import profile

    profile(arguments.spec, **{name: getattr(arguments, name) for name in FILES})


if __name__ == "__main__":
    script.run(__doc__, main, spec=str, **dict.fromkeys(FILES, Path))
