"""Every suite passes these tests, whatever it measures. A new file in suites/ is tested without a change here."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from prunebench.config.schema import Config
from prunebench.engine.subject import Subject
from prunebench.plan.checks import load_config
from prunebench.plan.plan import Plan
from prunebench.registry import load, names, required
from prunebench.stages.fetch_corpus import fetch_corpus
from prunebench.storage.resume import Parts
from prunebench.suites.base import Suite
from prunebench.suites.metrics import headlines, metric

GIVEN = {"corpora": ["text"], "corpus": "text", "data": "few", "tasks": ["rte"]}
"""Values for parameters that have no default."""
SMALL = {"seqlen": 16, "windows": 4}
OWN = {"vqa": {"data": "seen", "tasks": ["shapes"]}}
"""Values for parameters that mean something else in one suite."""
SUITES = names("suites")


def configured(name: str) -> Suite:
    plugin = load("suites", name)
    unknown = [key for key in required("suites", name) if key not in GIVEN]
    assert not unknown, f"give {unknown} of suites/{name}.py a default, or a value in GIVEN of this test"
    values = {**{key: GIVEN[key] for key in required("suites", name)}, **SMALL, **OWN.get(name, {})}
    suite: Suite = plugin(
        plugin.configure(overrides={key: values[key] for key in plugin.Params.model_fields.keys() & values})
    )
    return suite


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A config whose model and text are files of this machine."""
    root = tmp_path_factory.mktemp("assets")
    (root / "text.txt").write_text("\n".join(tiny.make_text(300)))
    (root / "rte.jsonl").write_text("{}\n")
    model = {"kind": "path", "path": str(tiny.make_model(root / "model"))}
    (root / "shapes.json").write_text("[]")
    (root / "0.png").write_bytes(b"")
    seen = {"images": "easy_vqa", "rows": {"test": "shapes.json"}, "pictures": "*.png"}
    rows = {"stock": "glue/rte/default.yaml", "rows": {"validation": "rte.jsonl"}}
    text = {"kind": "path", "path": str(root / "text.txt")}
    raw: dict[str, Any] = {
        "studies": {"tiny": {"suites": list(SUITES), "grid": [{"model": "tiny", "method": "dense"}]}},
        "models": {"tiny": {"title": "Tiny", "family": "llama", "source": model}},
        "corpora": {"text": {"title": "Text", "source": text, "documents": "lines"}},
        "tasks": {
            "few": {"title": "Few", "source": {"kind": "path", "path": str(root)}, "tasks": {"rte": rows}},
            "seen": {"title": "Seen", "source": {"kind": "path", "path": str(root)}, "tasks": {"shapes": seen}},
        },
        "suites": {name: {"suite": name, "params": configured(name).params.model_dump()} for name in SUITES},
    }
    return load_config(raw, catalog=root)


@pytest.mark.parametrize("name", SUITES)
def test_it_says_what_it_measures_and_what_that_costs(name: str, config: Config) -> None:
    suite = configured(name)
    assert suite.metrics and all(metric(declared.name) == declared for declared in suite.metrics)
    assert suite.table in names("tables") and load("tables", suite.table).shows(type(suite))
    assert suite.tasks and list(suite.mistakes(config)) == []
    workload = suite.workload(config)
    assert workload.tokens >= workload.seqlen > 0 and workload.generated >= 0


@pytest.mark.parametrize("name", SUITES)
def test_it_evaluates_a_tiny_model_with_the_same_bits_each_time(name: str, config: Config, tmp_path: Path) -> None:
    suite = configured(name)
    corpora = [asset.partition("/")[2] for asset in suite.assets if asset.startswith("corpora/")]
    if len(corpora) < len(suite.assets):
        pytest.skip("needs more than text: it has tests of its own")
    for corpus in corpora:
        fetch_corpus(
            Plan({}, "test", config, {}).asset(f"corpora/{corpus}").spec, asset=tmp_path / corpus / "asset.json"
        )
    subject = Subject(
        Path(config.models["tiny"].source.path),
        load("models", "llama"),
        None,
        dtype=torch.float32,
        storage=torch.bfloat16,
        batch_size=2,
    )
    assets = {f"corpora/{corpus}": tmp_path / corpus for corpus in corpora}
    first, again = (suite.run(subject, assets, Parts(tmp_path / f"parts{turn}", "one")) for turn in range(2))
    kept, kept_again = ([score for score in run if not metric(score.metric).clocked] for run in (first, again))
    assert kept == kept_again and kept
    shown = [score for score in first if score.metric in {declared.name for declared in suite.metrics}]
    tasks = {score.task for score in shown}
    # Of a model that is not pruned, a suite of speed has no packed form.
    assert tasks == set(suite.tasks) or (suite.alone and tasks < set(suite.tasks))
    assert all(math.isfinite(score.value) and score.n > 0 for score in first)
    assert json.loads(json.dumps([asdict(score) for score in first]))
    assert all(task in suite.headline(first) for task in headlines(tasks))
