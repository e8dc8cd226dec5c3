"""Prune one cell."""

from argparse import Namespace
from pathlib import Path

from prunebench import job, paths
from prunebench.canonical import spec_hash


def main(arguments: Namespace) -> None:
    """Run the stage; heavy imports happen here, after the thread counts are set."""
    from prunebench.stages.prune import prune

    files = {key: getattr(arguments, key) for key in ("model", "tokens", "allocation", "weights", "result", "measured")}
    scratch = Path(paths.SCRATCH.format(spec_hash=spec_hash(arguments.spec)))
    job.log.info(prune(arguments.spec, scratch=scratch, **files))


if __name__ == "__main__":
    optional = (Path, None)
    job.run(
        __doc__, main, spec=str, model=Path, tokens=optional, allocation=Path, weights=Path, result=Path, measured=Path
    )
