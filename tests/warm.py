"""Python programs in processes of their own that begin with the heavy libraries imported.

They are forks of a server that imported those and nothing else: `prunebench` is imported anew by each, from where its
PYTHONPATH says. Importing takes longer than all that most commands do on tiny models.
"""

import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

HEAVY = [
    "torch",
    "transformers.models.llama.modeling_llama",
    "accelerate",
    "datasets",
    "lm_eval.evaluator",
    "lm_eval.models.huggingface",
    "pandas",
    "safetensors.torch",
    "scipy.stats",
]


def run(
    program: Path, arguments: Sequence[str], directory: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run the file `program` in `directory`; stdout and stderr are one text."""
    context = get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    with TemporaryDirectory() as scratch:
        output = Path(scratch) / "output"
        words = [str(program), *arguments]
        process = context.Process(target=_run, args=(words, directory, dict(environment), output))
        process.start()
        process.join()
        return subprocess.CompletedProcess(words, process.exitcode or 0, output.read_text(encoding="utf-8"))


def _run(words: list[str], directory: Path, environment: dict[str, str], output: Path) -> None:
    with output.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.chdir(directory)
    os.environ.update(environment)
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
