"""Scores in the formats of other programs, and the interval of accuracies."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from prunebench.assets.manifest import Manifest
from prunebench.config.values import Compute
from prunebench.formulas.wilson import wilson
from prunebench.standalone import records
from prunebench.suites.base import Score

SCORES = [
    Score("boolq", "acc", 0.5, 0.05, 100),
    Score("rte", "acc", 1.0, 0.0, 10),
    Score("arc", "acc_norm", 0.0, 0.0, 20),
    Score("hard", "acc", 0.0, None, 1),
    Score("mean", "acc", 0.5, 0.02, 130),
    Score("wikipedia", "perplexity", 23.4, 0.4, 32),
]

SPEC = {"method": "wanda", "pattern": "unstructured"}


@pytest.mark.parametrize(
    ("fraction", "rows", "low", "high"),
    # The first four are of Newcombe 1998, Statistics in Medicine 17, table I (method 3).
    [
        (81 / 263, 263, 0.2553, 0.3662),
        (15 / 148, 148, 0.0624, 0.1605),
        (0.0, 20, 0.0, 0.1611),
        (1 / 29, 29, 0.0061, 0.1718),
        (1.0, 20, 0.8389, 1.0),
        (1.0, 1, 0.2065, 1.0),
    ],
)
def test_wilson_is_that_of_the_literature(fraction: float, rows: int, low: float, high: float) -> None:
    assert wilson(fraction, rows) == pytest.approx((low, high), abs=1e-4)


def test_a_score_of_0_or_1_has_an_interval_and_no_standard_error() -> None:
    rows = {row["task"]: row for row in map(records.plain, SCORES)}
    assert [rows[task]["stderr"] for task in ("boolq", "rte", "arc", "hard", "mean")] == [0.05, None, None, None, 0.02]
    assert rows["rte"]["low"] == pytest.approx(0.7225, abs=1e-4) and rows["rte"]["high"] == pytest.approx(1)
    assert rows["arc"]["low"] == pytest.approx(0) and rows["arc"]["high"] == pytest.approx(0.1611, abs=1e-4)
    assert (rows["mean"]["low"], rows["wikipedia"]["low"], rows["wikipedia"]["stderr"]) == (None, None, 0.4)
    honest = {score.task: score for score in map(records.honest, SCORES)}
    assert honest["rte"].stderr is None and honest["rte"].details["interval"][1] == pytest.approx(1)
    assert honest["wikipedia"] == SCORES[-1]


@pytest.fixture
def evaluated(tmp_path: Path) -> records.Evaluated:
    return made(tmp_path)


def made(folder: Path) -> records.Evaluated:
    """An evaluation of a pruned model from the hub, whose first task lm-eval has evaluated."""
    (folder / "prunebench.json").write_text(
        json.dumps({"prune": {"achieved_sparsity": 0.5, "spec": SPEC, "weights": "b1a6"}})
    )
    source = {"kind": "hub", "repo": "owner/name", "revision": "0" * 40}
    manifest = Manifest.model_validate(
        {"spec_hash": "x", "title": "owner/name (0000000)", "directory": str(folder), "files": {}, "source": source}
    )
    report = {
        "results": {"boolq": {"alias": "boolq", "acc,none": 0.5, "acc_stderr,none": 0.05}},
        "configs": {"boolq": {"task": "boolq", "dataset_path": "aps/super_glue", "validation_split": "validation"}},
        "versions": {"boolq": 2.0},
        "n-shot": {"boolq": 0},
        "higher_is_better": {"boolq": {"acc": True}},
        "n-samples": {"boolq": {"original": 100, "effective": 100}},
        "samples": {
            "boolq": [
                {"doc_id": 0, "doc": {"question": "a?"}, "target": 1, "arguments": [["a?", " yes"]],
                 "resps": [[[-1.0, False]]], "filtered_resps": [[-1.0, False]], "doc_hash": "a", "prompt_hash": "b",
                 "target_hash": "c", "acc": 1.0}
            ]
        },
    }  # fmt: skip
    return records.Evaluated(SCORES, manifest, Compute(threads=1), "boolq", 100, [report], 1.8e9)


def test_all_formats_are_written(evaluated: records.Evaluated, tmp_path: Path) -> None:
    files = records.write(evaluated, tmp_path / "out")
    with files[0].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["task"] for row in rows] == [score.task for score in SCORES] and rows[1]["stderr"] == ""
    results = json.loads(files[2].read_text())
    assert files[2].parent.name == "owner_name__0000000_" and files[2].name.startswith("results_")
    assert results["results"]["boolq"]["acc,none"] == 0.5
    assert results["results"]["wikipedia"]["perplexity,none"] == 23.4
    assert results["higher_is_better"] == {
        "boolq": {"acc": True}, "rte": {"acc": True}, "arc": {"acc_norm": True}, "hard": {"acc": True},
        "mean": {"acc": True}, "wikipedia": {"perplexity": False},
    }  # fmt: skip
    assert results["config"]["model_args"]["pretrained"] == str(tmp_path) and results["config"]["limit"] == 100
    (sample,) = map(json.loads, files[3].read_text().splitlines())
    assert files[3].name.startswith("samples_boolq_") and sample["target"] == "1"
    assert sample["arguments"] == {"gen_args_0": {"arg_0": "a?", "arg_1": " yes"}}


def test_the_record_of_every_eval_ever(evaluated: records.Evaluated) -> None:
    """The required keys and words of eval.schema.json 0.3.0."""
    record: dict[str, Any] = json.loads(json.dumps(records.every_eval_ever(evaluated)))
    needed = {"schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata", "model_info", "eval_library"}
    assert record.keys() == {*needed, "evaluation_results", "evaluation_timestamp"}
    assert record["evaluation_id"] == "boolq/owner/name/1800000000" and record["schema_version"] == "0.3.0"
    assert record["source_metadata"]["source_type"] == "evaluation_run"
    details = record["model_info"]["additional_details"]
    assert (details["deployment_type"], details["model_availability"]) == ("self_deployed", "open_weights")
    assert details["pruning_method"] == "wanda" and details["sparsity"] == "0.5000"
    assert details["pruned_weights"] == "b1a6", "push compares it with the model"
    assert all(isinstance(value, str) for value in details.values())
    first, certain, *_, perplexity = record["evaluation_results"]
    assert first["source_data"] == {
        "dataset_name": "boolq", "source_type": "hf_dataset", "hf_repo": "aps/super_glue", "hf_split": "validation",
        "samples_number": 100,
    }  # fmt: skip
    assert first["metric_config"]["min_score"] == 0 and not first["metric_config"]["lower_is_better"]
    assert first["score_details"]["uncertainty"]["standard_error"]["value"] == 0.05
    assert "standard_error" not in certain["score_details"]["uncertainty"]
    assert certain["score_details"]["uncertainty"]["confidence_interval"]["lower"] == pytest.approx(0.7225, abs=1e-4)
    assert perplexity["metric_config"]["lower_is_better"] and perplexity["source_data"]["source_type"] == "other"
