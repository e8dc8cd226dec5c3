"""Run one job: python -m prunebench.stages STAGE --spec SPEC --INPUT FILE ... --OUTPUT FILE ...

The options of a stage are its parameters. The number of threads must be in the environment, and GPUs be chosen, before
numpy and torch are imported. The options for both are therefore read before the stage is imported.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prunebench.cell import NO_CALIBRATION
from prunebench.identity.watch import Watch
from prunebench.plan.jobs.base import modules_of
from prunebench.runtime import script
from prunebench.runtime.gpus import take_gpus
from prunebench.stages.run import parameters, stage, watched

UNCALIBRATED = f" {NO_CALIBRATION}-seed0"
"""The end of the label of a cell that looks at no text, which says nothing."""


def main() -> None:
    """Run the stage that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m prunebench.stages", description=__doc__, allow_abbrev=False)
    parser.add_argument("stage", help="a module of prunebench.stages")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs of this machine that the job takes (default 0)")
    parser.add_argument("--label", help="print the outcome of the stage after these words")
    parser.add_argument("--spec", default="{}", help="canonical JSON of everything that can change a number")
    job, words = parser.parse_known_args()

    def body() -> str | None:
        if job.gpus:
            take_gpus(job.gpus)
        watch = Watch(modules_of(job.stage, job.spec))
        function = stage(job.stage)
        types = dict(parameters(function))
        spec = {"spec": job.spec} if types.pop("spec", None) else {}
        arguments = _arguments(f"{parser.prog} {job.stage}", types, words)
        return watched(watch, job.stage, function, {**spec, **arguments})

    label = job.label and job.label.removesuffix(UNCALIBRATED)
    script.run(body, threads=job.threads, spec=job.spec, label=label)


def _arguments(program: str, types: dict[str, Any], words: list[str]) -> dict[str, Any]:
    """Parse the `words` of a command as the values of the parameters of a stage, by their `types`."""
    parser = argparse.ArgumentParser(prog=program, allow_abbrev=False)
    for name, kind in types.items():
        flag = f"--{name}"
        if kind == Path | None:
            parser.add_argument(flag, type=Path, nargs="?")
        elif kind == Sequence[Path]:
            parser.add_argument(flag, type=Path, nargs="*", default=[])
        else:
            parser.add_argument(flag, type=kind, required=True)
    return vars(parser.parse_args(words))


if __name__ == "__main__":
    main()
