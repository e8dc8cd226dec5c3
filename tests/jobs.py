"""Single jobs of the pipeline run by hand, on a tiny model: what comes before a prune, and its command."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny
from prunebench.cell import Cell
from prunebench.identity.canonical import canonical, spec_hash
from prunebench.plan.graph import ordered
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan, load_plan
from prunebench.stages.run import command, run
from prunebench.storage.files import read_json, sha256_file

WORKFLOW = Path(__file__).parents[1] / "workflow"


@dataclass
class PruneJob:
    """A prune job whose inputs are ready under `root`."""

    root: Path
    plan: Plan
    cell: Cell

    @property
    def job(self) -> Job:
        return self.plan.job("prune", **self.cell.wildcards)

    @property
    def scratch(self) -> Path:
        return self.weights.parent / ".blocks"

    @property
    def weights(self) -> Path:
        return self.root / self.job.output("weights").path

    @property
    def result(self) -> Any:
        return json.loads((self.root / self.job.outputs[0]).read_text())

    def start(self, prelude: str = "") -> subprocess.Popen[str]:
        """Start the job's own command in a process of its own; `prelude` is Python that runs in it first."""
        return start(self.root, self.job, prelude)

    def start_evaluation(self, suite: str, prelude: str = "") -> subprocess.Popen[str]:
        """Start the evaluation of `suite` on the finished cell; its result is `evaluation`."""
        return start(self.root, self.evaluating(suite), prelude)

    def evaluating(self, suite: str) -> Job:
        return self.plan.job("evaluate", **self.cell.wildcards, suite=suite)

    def evaluation(self, suite: str) -> Path:
        return self.root / self.evaluating(suite).outputs[0]

    def run(self) -> str:
        """Run the job to its end and return its log."""
        process = self.start()
        log = process.communicate()[1]
        assert process.returncode == 0, log
        return log


def prune_job(
    root: Path,
    *,
    method: str = "wanda",
    allocator: str = "uniform",
    sparsity: float = 0.5,
    calibration: str = "text_4x16",
    batch_size: int = 2,
    lines: int = 300,
    more: Mapping[str, Mapping[str, Any]] | None = None,
    **model: Any,
) -> PruneJob:
    """A prune job on a tiny model made with the options `model`, everything that it reads in place.

    `more` adds entries to sections of the config, such as suites.
    """
    family, _ = tiny.ARCHITECTURES[model.get("name", "llama")]
    directory = tiny.make_model(root / "assets/model", **model)
    (root / "assets/text.txt").write_text("\n".join(tiny.make_text(lines)))
    entry = {"title": "Tiny", "family": family, "source": {"kind": "path", "path": str(directory)}}
    text = {"title": "Text", "source": {"kind": "path", "path": str(root / "assets/text.txt")}, "documents": "lines"}
    config: dict[str, Any] = {
        "compute": {"dtype": "bfloat16", "batch_size": batch_size, "threads": 1},
        "models": {"tiny": entry},
        "corpora": {"text": text},
        "suites": {"ppl": {"suite": "perplexity", "params": {"corpora": ["text"], "seqlen": 16}}},
    }
    for section, entries in (more or {}).items():
        config[section] = {**config.get(section, {}), **entries}
    row = {"model": "tiny", "method": method, "allocator": allocator, "sparsity": sparsity, "calibration": calibration}
    plan = load_plan({**config, "studies": {"tiny": {"suites": list(config["suites"]), "grid": [row]}}})
    (cell,) = plan.cells
    job = plan.job("prune", **cell.wildcards)
    for upstream in ordered([job])[:-1]:
        run(upstream, root)
    return PruneJob(root, plan, cell)


def start(root: Path, job: Job, prelude: str = "") -> subprocess.Popen[str]:
    """Start `job` in a process of its own, in `root`, as its rule does; `prelude` is Python that runs in it first."""
    launch = f"import runpy; {prelude}\nrunpy.run_module('prunebench.stages', run_name='__main__', alter_sys=True)"
    environment = {**os.environ, "PYTHONPATH": str(WORKFLOW)}
    words = [sys.executable, "-c", launch, *command(job)]
    return subprocess.Popen(words, cwd=root, env=environment, stderr=subprocess.PIPE, text=True)


def pipeline() -> dict[str, Any]:
    """Run all stages on a tiny text and model (bf16), and return splits, tokens, allocation, zeros and perplexity."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        job = prune_job(root, blocks=2)
        evaluation = job.evaluating("ppl")
        for step in ordered([evaluation]):
            run(step, root)
        corpus = root / job.plan.asset("corpora/text").outputs[0]
        sparsities = read_json(root / str(job.job.input("allocation")))["sparsities"]
        (score,) = read_json(root / evaluation.outputs[0])["scores"]
        return {
            "documents": read_json(corpus)["documents"],
            "tokens": sha256_file(root / str(job.job.input("tokens"))),
            "allocation": spec_hash(canonical(sparsities)),
            "zeros": [sum(linear["zeros"] for linear in block["linears"].values()) for block in job.result["blocks"]],
            "perplexity": [score["value"], score["stderr"], score["n"]],
        }
