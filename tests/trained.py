"""A model that is trained in a second, and the job that does it."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny
from jobs import start
from prunebench.plan import paths
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan, load_plan
from prunebench.stages.fetch_corpus import fetch_corpus
from studies import PACKAGE, changed

SHAPE = {"blocks": 2, "hidden": 32, "ffn": 64, "attention": 32, "vocabulary": 320}
SOURCE: dict[str, Any] = {
    "kind": "trained",
    "corpora": ["lessons"],
    "unseen": ["text"],
    "heads": 4,
    "context": 16,
    "steps": 60,
    "learning_rate": 0.01,
    "compute": {"dtype": "bfloat16", "batch_size": 4, "threads": 1},
}
MODEL = {"title": "Mini (trained here)", "family": "opt", "source": SOURCE, "shape": SHAPE}
CORPORA: dict[str, Any] = {
    name: {"title": name, "source": {"kind": "path", "path": f"assets/{name}.txt"}, "documents": "lines", "use": use}
    for name, use in (("lessons", "training"), ("text", "evaluation"))
}


def trained(config: dict[str, Any], lessons: dict[str, Any] = PACKAGE) -> dict[str, Any]:
    """`config` with the model `mini` and the corpus `lessons` that it is trained on, which comes from `lessons`."""
    return changed("models.mini", MODEL, changed("corpora.lessons", {**CORPORA["lessons"], "source": lessons}, config))


def write_lessons(assets: Path) -> None:
    """The text to train on; it holds lines of the text that models are evaluated on."""
    assets.mkdir(parents=True, exist_ok=True)
    text = tiny.make_text(60)
    (assets / "text.txt").write_text("\n".join(text))
    (assets / "lessons.txt").write_text("\n".join([*tiny.make_text(400, seed=1), *text[:20]]))


@dataclass
class TrainJob:
    """A train_model job whose inputs are ready under `root`."""

    root: Path
    plan: Plan

    @property
    def record(self) -> Path:
        return self.root / self.job.outputs[0]

    @property
    def scratch(self) -> Path:
        return self.record.with_name(".mini.parts")

    @property
    def job(self) -> Job:
        return self.plan.job("train_model", model="mini")

    def made(self) -> dict[str, bytes]:
        """All files but the measurements."""
        files = [self.root / path for path in self.job.outputs if not path.name.endswith(".measured.json")]
        return {file.name: file.read_bytes() for file in files}

    def start(self, prelude: str = "") -> subprocess.Popen[str]:
        """Start the job's own command in a process of its own; `prelude` is Python that runs in it first."""
        return start(self.root, self.job, prelude)

    def run(self) -> str:
        """Run the job to its end and return its log."""
        process = self.start()
        log = process.communicate()[1]
        assert process.returncode == 0, log
        return log


def train_job(root: Path, **source: Any) -> TrainJob:
    """A job that trains the model `mini`, its source changed; everything that it reads in place."""
    write_lessons(root / "assets")
    study = {"suites": ["ppl"], "grid": [{"model": "mini", "method": "dense"}]}
    config = {
        "studies": {"tiny": study},
        "models": {"mini": {**MODEL, "source": {**SOURCE, **source}}},
        "corpora": {
            name: {**entry, "source": {"kind": "path", "path": str(root / entry["source"]["path"])}}
            for name, entry in CORPORA.items()
        },
        "suites": {"ppl": {"suite": "perplexity", "params": {"corpora": ["text"], "seqlen": 16}}},
    }
    plan = load_plan(config)
    for name in CORPORA:
        fetch_corpus(plan.asset(f"corpora/{name}").spec, asset=root / paths.CORPUS.format(corpus=name))
    return TrainJob(root, plan)
