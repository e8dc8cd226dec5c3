"""Single jobs of the pipeline run by hand, on a tiny model: what comes before a prune, and its command."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny
from prunebench import paths
from prunebench.cells import Cell, allocation_form
from prunebench.plan import Plan, load_plan
from prunebench.stages.allocate import allocate
from prunebench.stages.calibrate import calibrate
from prunebench.stages.fetch_corpus import fetch_corpus
from prunebench.stages.fetch_model import fetch_model

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
        }
        script = str(SCRIPTS / "prune.py")
        launch = f"import runpy; {prelude}\nrunpy.run_path({script!r}, run_name='__main__')"
        command = [sys.executable, "-c", launch]
        command += [word for name, value in options.items() for word in (f"--{name}", value)]
        command += [word for tokens in self.plan.tokens(self.cell) for word in ("--tokens", tokens)]
        environment = {**os.environ, "PYTHONPATH": str(SCRIPTS.parent)}
        return subprocess.Popen(command, cwd=self.root, env=environment, stderr=subprocess.PIPE, text=True)

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
    sparsity: float = 0.5,
    calibration: str = "text_4x16",
    batch_size: int = 2,
    **model: Any,
) -> PruneJob:
    """A prune job on a tiny model made with the options `model`, everything that it reads in place."""
    family, _ = tiny.ARCHITECTURES[model.get("name", "llama")]
    directory = tiny.make_model(root / "assets/model", **model)
    (root / "assets/text.txt").write_text("\n".join(tiny.make_text(300)))
    entry = {"title": "Tiny", "family": family, "source": {"kind": "path", "path": str(directory)}}
    text = {"title": "Text", "source": {"kind": "path", "path": str(root / "assets/text.txt")}, "documents": "lines"}
    plan = load_plan(
        {
            "studies": {
                "tiny": {
                    "suites": ["ppl"],
                    "grid": [{"model": "tiny", "method": method, "sparsity": sparsity, "calibration": calibration}],
                }
            },
            "compute": {"dtype": "bfloat16", "batch_size": batch_size, "threads": 1},
            "models": {"tiny": entry},
            "corpora": {"text": text},
            "suites": {"ppl": {"suite": "perplexity", "params": {"corpora": ["text"], "seqlen": 16}}},
        }
    )
    (cell,) = plan.cells
    model_asset = root / paths.MODEL.format(model="tiny")
    corpus_asset = root / paths.CORPUS.format(corpus="text")
    fetch_model(plan.specs.model("tiny"), model_asset.parent)
    fetch_corpus(plan.specs.corpus("text"), corpus_asset.parent)
    tokens, record = (root / pattern.format(**cell.wildcards) for pattern in (paths.TOKENS, paths.TOKENS_RECORD))
    calibrate(plan.specs.tokens("tiny", calibration, 0), model_asset, corpus_asset, tokens, record)
    allocate(plan.specs.allocation(allocation_form(plan.config, cell)), model_asset, None, root / plan.allocation(cell))
    return PruneJob(root, plan, cell)
