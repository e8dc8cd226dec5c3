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
from prunebench.plan import paths
from prunebench.plan.grid import allocation_form
from prunebench.plan.plan import Plan, load_plan
from prunebench.stages.allocate import allocate
from prunebench.stages.calibrate import calibrate
from prunebench.stages.evaluate import evaluate
from prunebench.stages.fetch_corpus import fetch_corpus
from prunebench.stages.fetch_model import fetch_model
from prunebench.stages.gradients import gradients
from prunebench.stages.prune import prune
from prunebench.storage.files import read_json, sha256_file

SCRIPTS = Path(__file__).parents[1] / "workflow" / "scripts"


@dataclass
class PruneJob:
    """A prune job whose inputs are ready under `root`."""

    root: Path
    plan: Plan
    cell: Cell

    @property
    def scratch(self) -> Path:
        return self.weights.parent / ".blocks"

    @property
    def weights(self) -> Path:
        return self.root / paths.WEIGHTS.format(**self.cell.wildcards)

    @property
    def result(self) -> Any:
        return json.loads((self.root / paths.PRUNED.format(**self.cell.wildcards)).read_text())

    def start(self, prelude: str = "") -> subprocess.Popen[str]:
        """Start the job's own script in a process of its own; `prelude` is Python that runs in it first."""
        where = self.cell.wildcards
        options = {
            "spec": self.plan.specs.prune(self.cell),
            "model": paths.MODEL.format(**where),
            "allocation": self.plan.allocation(self.cell),
            "weights": paths.WEIGHTS.format(**where),
            "result": paths.PRUNED.format(**where),
            "measured": paths.PRUNE_MEASURED.format(**where),
            "tokens": self.plan.tokens(self.cell),
            "gradients": self.plan.gradients(self.cell),
        }
        return start(self.root, "prune.py", options, prelude)

    def start_evaluation(self, suite: str, prelude: str = "") -> subprocess.Popen[str]:
        """The same for the evaluation of `suite` on the finished cell; its result is `evaluation`."""
        where = {**self.cell.wildcards, "suite": suite}
        options = {
            "spec": self.plan.specs.evaluation(self.cell, suite),
            "cell": str(self.cell),
            "model": paths.MODEL.format(**where),
            "pruned": paths.PRUNED.format(**where),
            "weights": paths.WEIGHTS.format(**where),
            "assets": [paths.ASSET.format(asset=asset) for asset in self.plan.suite_assets(suite)],
            "result": paths.EVALUATION.format(**where),
            "measured": paths.EVALUATION_MEASURED.format(**where),
        }
        return start(self.root, "evaluate.py", options, prelude)

    def evaluation(self, suite: str) -> Path:
        return self.root / paths.EVALUATION.format(**self.cell.wildcards, suite=suite)

    def run(self) -> str:
        """Run the job to its end; its log."""
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
    model_asset = root / paths.MODEL.format(model="tiny")
    corpus_asset = root / paths.CORPUS.format(corpus="text")
    fetch_model(plan.specs.model("tiny"), model_asset.parent)
    fetch_corpus(plan.specs.corpus("text"), corpus_asset.parent)
    tokens, record = (root / pattern.format(**cell.wildcards) for pattern in (paths.TOKENS, paths.TOKENS_RECORD))
    calibrate(plan.specs.tokens("tiny", calibration, 0), model_asset, corpus_asset, tokens, record)
    point = allocation_form(plan.config, cell)
    seen = tokens if plan.allocator_tokens(point) else None
    times = root / paths.ALLOCATION_MEASURED.format(**point.wildcards)
    found = {"allocation": root / plan.allocation(cell), "measured": times}
    allocate(plan.specs.allocation(point), model=model_asset, tokens=seen, **found)
    for path in plan.gradients(cell):
        spec, measured = plan.specs.gradients("tiny", calibration, 0), paths.GRADIENTS_MEASURED.format(**cell.wildcards)
        gradients(spec, model=model_asset, tokens=tokens, gradients=root / path, measured=root / measured)
    return PruneJob(root, plan, cell)


def start(root: Path, script: str, options: Mapping[str, str | list[str]], prelude: str = "") -> subprocess.Popen[str]:
    """Start a script of the workflow in a process of its own, in `root`; `prelude` is Python that runs in it first."""
    launch = f"import runpy; {prelude}\nrunpy.run_path({str(SCRIPTS / script)!r}, run_name='__main__')"
    words = []
    for name, value in options.items():
        words += [f"--{name}", *([value] if isinstance(value, str) else value)]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS.parent)}
    command = [sys.executable, "-c", launch, *words]
    return subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True)


def pipeline() -> dict[str, Any]:
    """What each stage makes of a tiny text and model (bf16): splits, tokens, allocation, zeros, perplexity."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        job = prune_job(root, blocks=2)
        where = job.cell.wildcards
        result, measured = root / "ppl.json", root / "measured.json"
        prune(
            job.plan.specs.prune(job.cell),
            model=root / paths.MODEL.format(**where),
            tokens=root / paths.TOKENS.format(**where),
            allocation=root / job.plan.allocation(job.cell),
            weights=job.weights,
            result=root / paths.PRUNED.format(**where),
            measured=measured,
        )
        corpus = root / paths.CORPUS.format(corpus="text")
        evaluate(
            job.plan.specs.evaluation(job.cell, "ppl"),
            model=root / paths.MODEL.format(**where),
            pruned=root / paths.PRUNED.format(**where),
            weights=job.weights,
            assets=[corpus],
            result=result,
            measured=measured,
        )
        sparsities = read_json(root / job.plan.allocation(job.cell))["sparsities"]
        (score,) = read_json(result)["scores"]
        return {
            "documents": read_json(corpus)["documents"],
            "tokens": sha256_file(root / paths.TOKENS.format(**where)),
            "allocation": spec_hash(canonical(sparsities)),
            "zeros": [sum(linear["zeros"] for linear in block["linears"].values()) for block in job.result["blocks"]],
            "perplexity": [score["value"], score["stderr"], score["n"]],
        }
