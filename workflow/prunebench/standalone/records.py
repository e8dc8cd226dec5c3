"""Writes the scores of an evaluation in the formats of lm-eval and of Every Eval Ever, and as CSV."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunebench.assets.manifest import Manifest
from prunebench.config.sources import HubSource
from prunebench.errors import PrunebenchError
from prunebench.formulas.wilson import Z, certain, wilson
from prunebench.runtime.provenance import version
from prunebench.storage.files import write_json, write_text
from prunebench.suites.metrics import MEAN, metric

if TYPE_CHECKING:
    from prunebench.config.values import Compute
    from prunebench.suites.base import Score

COLUMNS = ("task", "metric", "value", "stderr", "low", "high", "n")
"""The columns of scores in CSV; `low` and `high` are the 95% interval of an accuracy."""
PRUNED_WEIGHTS = "pruned_weights"
"""The key by which `push` knows the model that was evaluated: see `weights_of`."""
SCORES, EVERY_EVAL_EVER = "scores.csv", "every_eval_ever.json"
SCHEMA = "0.3.0"
"""The version of the schema of Every Eval Ever (evaleval/every_eval_ever on GitHub)."""


@dataclass(frozen=True)
class Evaluated:
    """The scores of one model, and what is known about how they were made."""

    scores: list[Score]
    model: Manifest
    compute: Compute
    title: str
    """A few words on what was evaluated."""
    limit: int | None = None
    reports: list[dict[str, Any]] = field(default_factory=list)
    """The report of lm-eval on each of its tasks."""
    began: float = field(default_factory=time.time)
    """The seconds since 1970 at the beginning."""


def make_folder(directory: Path, what: str) -> None:
    """Make the directory for `write`, before any work. Raises PrunebenchError about `what` if it cannot be made."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PrunebenchError(f"{what}: {directory} cannot be made ({error.strerror}): name another one") from None


def interval(score: Score) -> tuple[float, float] | None:
    """Return the 95% interval of an accuracy of one task; None for any other score."""
    if not metric(score.metric).percent or score.task == MEAN:
        return None
    return wilson(score.value, score.n)


def honest(score: Score) -> Score:
    """Return `score` with the interval of an accuracy in its details, and no standard error for a score of 0 or 1."""
    bounds = interval(score)
    if bounds is None:
        return score
    return replace(score, stderr=plain(score)["stderr"], details={**score.details, "interval": bounds})


def plain(score: Score) -> dict[str, Any]:
    """Return a score for other programs. A standard error that is 0 only because a score is 0 or 1 is none."""
    low, high = interval(score) or (None, None)
    stderr = None if low is not None and certain(score.value, score.stderr) else score.stderr
    row = {"task": score.task, "metric": score.metric, "value": score.value, "stderr": stderr}
    return {**row, "low": low, "high": high, "n": score.n}


def as_csv(scores: Sequence[Score]) -> str:
    """Return scores as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(plain, scores))
    return text.getvalue()


def write(evaluated: Evaluated, directory: Path) -> list[Path]:
    """Write the scores to `directory` in all formats, and the records of rows if there are any; returns the files."""
    write_text(directory / SCORES, as_csv(evaluated.scores))
    write_json(directory / EVERY_EVAL_EVER, every_eval_ever(evaluated))
    return [directory / SCORES, directory / EVERY_EVAL_EVER, *_write_lm_eval(evaluated, directory)]


def lm_eval_layout(evaluated: Evaluated) -> dict[str, Any]:
    """Return the scores as lm-eval's `simple_evaluate` does, without samples. All suites have this form."""
    merged: dict[str, Any] = {
        "results": {},
        "group_subtasks": {},
        "configs": {},
        "versions": {},
        "n-shot": {},
        "higher_is_better": {},
        "n-samples": {},
    }
    for report in evaluated.reports:
        for key, entries in merged.items():
            entries.update(report.get(key, {}))
    for score in evaluated.scores:
        if score.task not in {name for report in evaluated.reports for name in report["results"]}:
            own = merged["results"].setdefault(score.task, {"alias": score.task})
            error = "N/A" if score.stderr is None else score.stderr
            own |= {f"{score.metric},none": score.value, f"{score.metric}_stderr,none": error}
            merged["n-samples"][score.task] = {"original": score.n, "effective": score.n}
            merged["higher_is_better"].setdefault(score.task, {})[score.metric] = not metric(score.metric).lower
    compute = evaluated.compute
    config = {
        "model": "hf",
        "model_args": {"pretrained": str(evaluated.model.directory), "dtype": compute.dtype},
        "batch_size": compute.batch_size,
        "limit": evaluated.limit,
    }
    versions = {"lm_eval_version": version("lm_eval"), "transformers_version": version("transformers")}
    return {**merged, "config": config, "date": evaluated.began, **versions}


def _write_lm_eval(evaluated: Evaluated, directory: Path) -> list[Path]:
    """Write results_DATE.json and samples_TASK_DATE.jsonl below `directory`, by lm-eval's own writer."""
    from lm_eval.loggers import EvaluationTracker

    tracker = EvaluationTracker(output_path=str(directory))
    tracker.general_config_tracker.model_source = "hf"
    tracker.general_config_tracker.model_name = evaluated.model.title
    folder = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in evaluated.model.title)
    tracker.general_config_tracker.model_name_sanitized = folder
    samples = {task: rows for report in evaluated.reports for task, rows in report.get("samples", {}).items()}
    tracker.save_results_aggregated(results=lm_eval_layout(evaluated), samples=samples or None)
    for task, rows in samples.items():
        tracker.save_results_samples(task, rows)
    names = [f"results_{tracker.date_id}.json", *(f"samples_{task}_{tracker.date_id}.jsonl" for task in samples)]
    files = [directory / folder / name for name in names]
    # That writer logs what goes wrong, and goes on.
    if absent := [str(file) for file in files if not file.is_file()]:
        raise PrunebenchError(f"lm-eval could not write {', '.join(absent)}: is the disk full, or not to be written?")
    return files


def every_eval_ever(evaluated: Evaluated) -> dict[str, Any]:
    """Return the scores by the schema of Every Eval Ever (one record of one run)."""
    source = evaluated.model.source
    hub = source if isinstance(source, HubSource) else None
    name = hub.repo if hub else evaluated.model.title
    stamp = f"{evaluated.began:.0f}"
    compute = {key: str(value) for key, value in evaluated.compute.model_dump().items()}
    pruned = _pruned(evaluated.model.directory)
    return {
        "schema_version": SCHEMA,
        "evaluation_id": f"{evaluated.title}/{name}/{stamp}",
        "evaluation_timestamp": stamp,
        "retrieved_timestamp": stamp,
        "source_metadata": {
            "source_name": "prunebench",
            "source_type": "evaluation_run",
            "source_organization_name": "unknown",
            "evaluator_relationship": "other",
        },
        "eval_library": {
            "name": "lm_eval" if evaluated.reports else "prunebench",
            "version": version("lm_eval" if evaluated.reports else "prunebench") or "unknown",
            "additional_details": {"prunebench": version("prunebench") or "unknown"},
        },
        "model_info": {
            "name": evaluated.model.title,
            "id": name,
            "inference_engine": {"name": "transformers", "version": version("transformers") or "unknown"},
            "additional_details": {
                "deployment_type": "self_deployed",
                "model_availability": "open_weights" if hub else "unknown",
                **({"revision": hub.revision} if hub else {}),
                **pruned,
            },
        },
        "evaluation_results": [_result(score, evaluated, compute) for score in evaluated.scores],
    }


def _result(score: Score, evaluated: Evaluated, compute: dict[str, str]) -> dict[str, Any]:
    kind = metric(score.metric)
    scale = {"min_score": 0.0, "max_score": 1.0} if kind.percent else {"min_score": 1.0, "max_score": 1e308}
    bounds = interval(score)
    uncertainty: dict[str, Any] = {"num_samples": score.n}
    if (error := plain(score)["stderr"]) is not None:
        uncertainty |= {"standard_error": {"value": error, "method": "analytic"}}
    if bounds:
        level = {"confidence_level": 0.95, "method": f"Wilson score, z = {Z}"}
        uncertainty |= {"confidence_interval": {"lower": bounds[0], "upper": bounds[1], **level}}
    return {
        "evaluation_result_id": f"{score.task}/{score.metric}",
        "evaluation_name": score.task,
        "evaluation_timestamp": f"{evaluated.began:.0f}",
        "source_data": _data(score, evaluated),
        "metric_config": {
            "metric_id": {"acc": "accuracy"}.get(score.metric, score.metric),
            "metric_name": kind.title,
            "metric_unit": "proportion" if kind.percent else "points",
            "lower_is_better": kind.lower,
            "score_type": "continuous",
            **scale,
        },
        "score_details": {"score": score.value, "uncertainty": uncertainty},
        "generation_config": {"additional_details": compute},
    }


def _data(score: Score, evaluated: Evaluated) -> dict[str, Any]:
    """Return where the rows of a task come from: the dataset that lm-eval's task names, or a text of the catalog."""
    configs = {name: config for report in evaluated.reports for name, config in report["configs"].items()}
    path = configs.get(score.task, {}).get("dataset_path")
    if not path:
        return {"dataset_name": score.task, "source_type": "other"}
    split = configs[score.task].get("test_split") or configs[score.task].get("validation_split") or "test"
    return {
        "dataset_name": score.task,
        "source_type": "hf_dataset",
        "hf_repo": path,
        "hf_split": split,
        "samples_number": score.n,
    }


def _pruned(directory: Path) -> dict[str, str]:
    """Return how the model in `directory` was pruned, as texts; nothing if it has no record of that."""
    try:
        record = json.loads((directory / "prunebench.json").read_text(encoding="utf-8"))
        prune, spec = record["prune"], record["prune"]["spec"]
        return {
            "pruning_method": spec["method"],
            "pattern": spec["pattern"],
            "sparsity": f"{prune['achieved_sparsity']:.4f}",
            PRUNED_WEIGHTS: str(weights_of(record)),
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def weights_of(record: dict[str, Any]) -> str | None:
    """Name the pruned weights that a prunebench.json, whose content is `record`, belongs to; None if it does not say.

    A dense copy and a packed one have one name, unless the values of the packed one have fewer bits.
    """
    weights = record.get("prune", {}).get("weights")
    bits = (record.get("packed") or {}).get("bits")
    return None if weights is None else f"{weights}{f', {bits} bits' if bits else ''}"
