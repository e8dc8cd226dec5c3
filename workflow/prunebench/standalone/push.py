"""Uploads a pruned model to the Hugging Face hub: checkpoint, model card, record, and evaluation results."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import yaml
from huggingface_hub import (
    CommitOperationAdd,
    EvalResultEntry,
    HfApi,
    constants,
    eval_result_entries_to_yaml,
    get_token,
)
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

from prunebench.errors import PrunebenchError
from prunebench.standalone.export import CARD, RECORD
from prunebench.standalone.records import EVERY_EVAL_EVER, PRUNED_WEIGHTS, weights_of
from prunebench.storage.files import read_object
from prunebench.storage.layout import read_layout
from prunebench.tables.escape import markdown

log = logging.getLogger("prunebench")

REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")
RESULTS = ".eval_results/prunebench.yaml"
"""The file from which the hub reads evaluation results."""
MESSAGE = "Upload a model pruned by prunebench"
"""The message of the commit, if a user gives none."""
EVALUATION = "prunebench_evaluation.json"
"""The record of evaluations in a repository, by the schema of Every Eval Ever."""


@dataclass(frozen=True)
class Upload:
    """Files on their way to a repository of the hub. All checks that need no network are done."""

    repo: str
    files: dict[str, Path | bytes]
    """The files by their paths in the repository."""
    private: bool

    def send(self, message: str | None = None) -> str:
        """Create the repository if it is not there, and commit all files with `message`; returns the commit's URL.

        What an interrupted upload has sent is not sent again. Raises PrunebenchError if the hub refuses.
        """
        with _explained(self.repo):
            api = HfApi(endpoint=constants.ENDPOINT)
            api.create_repo(self.repo, private=self.private, exist_ok=True)
            if self.private and not api.model_info(self.repo).private:
                page = f"{constants.ENDPOINT}/{self.repo}/settings"
                raise PrunebenchError(
                    f"{self.repo} is there and is public: make it private on {page}, leave out --private, or choose "
                    "another name"
                )
            operations = [CommitOperationAdd(path, content) for path, content in self.files.items()]
            commit = api.create_commit(self.repo, operations, commit_message=message or MESSAGE)
        return str(commit.commit_url)


def prepare(directory: Path, repo: str, results: Sequence[Path] = (), *, private: bool = False) -> Upload:
    """Collect what is uploaded of the pruned model in `directory`. `results` are directories that `eval --out` wrote.

    The card gets the hub's metadata and a table of the scores. Raises PrunebenchError if `directory` holds no model
    that prunebench has pruned, if `results` are none, if `repo` is no OWNER/NAME, or if there is no token.
    """
    if not REPO.fullmatch(repo):
        raise PrunebenchError(f"REPO: {repo!r} is not of the form OWNER/NAME, as in my-name/my-model-pruned")
    read_layout(directory)
    for name in (RECORD, CARD):
        if not (directory / name).is_file():
            raise PrunebenchError(
                f"{directory} has no {name}: it is no model that prunebench has pruned or exported, so nobody could "
                "tell how it was made"
            )
    record = read_object(directory / RECORD)
    evaluations = [_evaluation(path, directory, record) for path in results]
    if constants.HF_HUB_OFFLINE:
        raise PrunebenchError("HF_HUB_OFFLINE is set, so nothing can be uploaded: unset it where this runs")
    if not get_token():
        raise PrunebenchError(
            f"there is no token for {constants.ENDPOINT}: make one that may write on {constants.ENDPOINT}"
            "/settings/tokens, and set HF_TOKEN to it, or run `hf auth login`"
        )
    files: dict[str, Path | bytes] = {
        path.relative_to(directory).as_posix(): path
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(directory).parts)
    }
    files[CARD] = card((directory / CARD).read_text(encoding="utf-8"), record, evaluations).encode()
    if evaluations:
        files[EVALUATION] = json.dumps(evaluations, indent=1).encode()
    if entries := [entry for evaluation in evaluations for entry in hub_entries(evaluation)]:
        text = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)
        files[RESULTS] = text.encode()
    return Upload(repo, files, private)


def card(text: str, record: dict[str, Any], evaluations: Sequence[dict[str, Any]] = ()) -> str:
    """Return the model card `text` with the hub's metadata in front and the scores at its end."""
    source = record.get("model", {}).get("source", {})
    packed = "packed" in record
    metadata: dict[str, Any] = {
        **({"base_model": source["repo"], "base_model_relation": "finetune"} if source.get("kind") == "hub" else {}),
        **({} if packed else {"library_name": "transformers"}),
        "tags": ["prunebench", "pruned", *(["prunebench-packed"] if packed else [])],
    }
    front = "" if text.startswith("---\n") else f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---\n"
    rows = [
        f"| {markdown(result['evaluation_name'])} | {markdown(result['metric_config']['metric_name'])} | "
        f"{result['score_details']['score']:.4g} | {result['score_details']['uncertainty']['num_samples']} |"
        for evaluation in evaluations
        for result in evaluation["evaluation_results"]
    ]
    table = "\n".join(["\n## Evaluation\n", "| task | metric | value | rows |", "|:--|:--|--:|--:|", *rows, ""])
    return f"{front}{text}{table if rows else ''}"


def hub_entries(evaluation: dict[str, Any]) -> Iterator[EvalResultEntry]:
    """Give the scores of a record of Every Eval Ever whose rows come from a dataset of the hub, in percent."""
    date = datetime.fromtimestamp(float(evaluation["evaluation_timestamp"]), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    library = evaluation["eval_library"]
    for result in evaluation["evaluation_results"]:
        data, metric = result["source_data"], result["metric_config"]
        if data["source_type"] == "hf_dataset" and metric["metric_id"] == "accuracy":
            rows = result["score_details"]["uncertainty"]["num_samples"]
            notes = f"{metric['metric_name']} in percent, {rows} rows, {library['name']} {library['version']}"
            yield EvalResultEntry(
                dataset_id=data["hf_repo"],
                task_id=result["evaluation_name"],
                value=round(100 * result["score_details"]["score"], 4),
                date=date,
                notes=notes,
            )


def _evaluation(place: Path, directory: Path, pruning: dict[str, Any]) -> dict[str, Any]:
    """Read the record that `eval --out` wrote to the directory `place`.

    Raises PrunebenchError if there is none, or if it is not of the model in `directory`, whose record is `pruning`.
    """
    file = place / EVERY_EVAL_EVER
    if not file.is_file():
        raise PrunebenchError(f"--results: {place} has no {EVERY_EVAL_EVER}: name a directory that `eval --out` wrote")
    record = read_object(file)
    if not isinstance(record.get("evaluation_results"), list):
        raise PrunebenchError(f"--results: {file} holds no evaluation results: write it again by `eval --out`")
    model = record.get("model_info")
    details = model.get("additional_details") if isinstance(model, dict) else None
    weights = details.get(PRUNED_WEIGHTS) if isinstance(details, dict) else None
    if weights is None or weights != weights_of(pruning):
        whose = "another model" if weights else "a model that it does not name, or that is not pruned"
        raise PrunebenchError(
            f"--results: {place} has scores of {whose}: evaluate {directory} by `eval --out`, or leave them out"
        )
    return record


@contextmanager
def _explained(repo: str) -> Iterator[None]:
    """Turn the exceptions of huggingface_hub and the network into a PrunebenchError that says what to do."""
    hub = constants.ENDPOINT
    tokens = f"{hub}/settings/tokens"
    token = f"the token (HF_TOKEN, or that of `hf auth login`) may not write there: make one that may on {tokens}"
    again = "What has arrived is not sent again: run again"
    try:
        yield
    except RepositoryNotFoundError as error:
        raise PrunebenchError(f"{hub} has no {repo}, or {token}") from error
    except OfflineModeIsEnabled as error:
        raise PrunebenchError("HF_HUB_OFFLINE is set, so nothing can be uploaded: unset it where this runs") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise PrunebenchError(f"{hub} refuses {repo} ({status}): {token}") from error
        told = " ".join(str(error.server_message or "").split())[:300]
        raise PrunebenchError(f"{hub} answers {status} for {repo}{f' ({told})' if told else ''}. {again}") from error
    except (httpx2.HTTPError, OSError, RuntimeError, ValueError) as error:  # hf_xet raises RuntimeError
        raise PrunebenchError(
            f"the upload to {repo} broke off ({' '.join(str(error).split())[:300]}). {again}"
        ) from error
