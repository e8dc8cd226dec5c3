"""A study of the papers in miniature: its grid, methods, suites and hub repositories on tiny models and few tokens.

`derived` says what is replaced, and nothing else is: models keep their repository, revision and kind of files but have
two tiny blocks; N windows of calibration become log2(N) - 2 of 16 tokens; suites take 2 windows of 16 tokens, or 2 rows
of each task, which are made by hand; searches get 3 evaluations. `serve` puts those models on the hub for tests, and
`compute` runs all jobs of a plan in this process, each by the stage that its rule runs.
"""

import io
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

import hub_repositories
import tiny
import tiny_vision
from hub_server import HubServer
from picture_rows import add_pictures
from prunebench.config.schema import calibration_parts, with_catalogs
from prunebench.config.sources import HubModelSource, HubSource
from prunebench.plan.graph import ordered
from prunebench.plan.plan import Plan
from prunebench.stages.collect import write_cells
from prunebench.stages.outputs import write_outputs
from prunebench.stages.run import run
from zeroshot import ROWS, bundle

CATALOG = Path(__file__).parents[1] / "config/catalog"
SEQLEN, WINDOWS, ROWS_PER_TASK, EVALUATIONS = 16, 2, 2, 3
SIZES = {**hub_repositories.SIZES, "max_position_embeddings": 1024}
SHAPE = {key: value for key, value in hub_repositories.SHAPE.items() if key != "key_value"}
PACKAGED = ("piqa", "boolq", "rte", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "openbookqa")


def derived(raw: dict[str, Any], rows: Path) -> dict[str, Any]:
    """The miniature of a parsed config file; rows of tasks are written into the directory `rows`."""
    full, _ = with_catalogs(raw, catalog=CATALOG)
    studies = {name: _smaller_study(study) for name, study in raw["studies"].items()}
    models = {
        name: {**entry.model_dump(mode="json"), "shape": SHAPE}
        for name, entry in full.models.items()
        if isinstance(entry.source, HubModelSource)
    }
    searches = {
        name: entry.model_dump(mode="json", exclude_none=True)
        | {"calibration": smaller(entry.calibration), "seqlen": SEQLEN, "windows": WINDOWS, "evaluations": EVALUATIONS}
        for name, entry in full.searches.items()
        if name in raw.get("searches", {})
    }
    suites = {
        name: _smaller_suite(entry.model_dump(mode="json", exclude_none=True)) for name, entry in full.suites.items()
    }
    tasks = {"olmo": bundle(rows / "seven", *PACKAGED), "olmo_mmlu": bundle(rows / "mmlu", "mmlu")}
    return {**raw, "studies": studies, "models": models, "searches": searches, "suites": suites, "tasks": tasks}


def smaller(calibration: str) -> str:
    """A calibration name with 16 tokens, and fewer windows the fewer it had: 128 become 5, 8 become 1."""
    corpus, samples, _ = calibration_parts(calibration)
    return f"{corpus}_{max(1, samples.bit_length() - 3)}x{SEQLEN}"


def _smaller_study(study: dict[str, Any]) -> dict[str, Any]:
    def axes(row: dict[str, Any]) -> dict[str, Any]:
        if "calibration" not in row:
            return row
        names = row["calibration"] if isinstance(row["calibration"], list) else [row["calibration"]]
        return {**row, "calibration": list(map(smaller, names))}

    return {**study, "defaults": axes(study.get("defaults", {})), "grid": list(map(axes, study["grid"]))}


def _smaller_suite(suite: dict[str, Any]) -> dict[str, Any]:
    fewer: dict[str, Any] = {"limit": ROWS_PER_TASK}
    if suite["suite"] == "perplexity":
        fewer = {"seqlen": SEQLEN, "windows": WINDOWS}
    elif suite["suite"] == "vqa":
        fewer["new_tokens"] = 4
    elif suite["suite"] == "speed":
        fewer = {"prompt": 8, "tokens": 2, "batches": [1], "repeats": 1}
    if suite["params"].get("num_fewshot"):
        fewer["num_fewshot"] = 2
    return {**suite, "params": suite["params"] | fewer}


def serve(hub: HubServer, plan: Plan, scratch: Path) -> None:
    """Put what `plan` fetches from the hub there: its models under their names at their revisions, texts, rows."""
    hub_repositories.add_texts(hub)
    made: dict[str, dict[str, bytes]] = {}
    for name in dict.fromkeys(cell.model for cell in plan.cells):
        entry = plan.config.models[name]
        assert isinstance(entry.source, HubModelSource)
        if entry.family not in made:
            place = _model(scratch / entry.family, entry.family)
            made[entry.family] = hub_repositories.files_of(place)
        files = made[entry.family]
        if entry.source.weights == "pytorch":
            files = hub_repositories.pickled(files)
        hub.add("models", entry.source.repo, files, entry.source.revision)
    add_pictures(hub, plan.config.tasks)
    for bundle_ in plan.config.tasks.values():
        if isinstance(bundle_.source, HubSource) and all(data.images is None for data in bundle_.tasks.values()):
            files = {path: _parquet(ROWS[task]) for task, of in bundle_.tasks.items() for path in of.rows.values()}
            hub.add("datasets", bundle_.source.repo, files, bundle_.source.revision)


def _model(directory: Path, family: str) -> Path:
    """A tiny model of `family` with a tokenizer."""
    if family == "llava":
        return tiny_vision.make_llava(directory, num_key_value_heads=4, **SIZES)
    bos = "</s>" if family == "opt" else "<s>"
    options = {} if family == "opt" else {"num_key_value_heads": 4}
    tokenizer = deepcopy(hub_repositories.tokenizer(bos))
    tokenizer.eos_token = bos  # where generation ends
    return tiny.make_model(directory, family, tokenizer=tokenizer, **SIZES, **options)


def compute(plan: Plan) -> list[Path]:
    """Run every job of `plan` in order in the working directory, and return its tables in Markdown."""
    for job in ordered(plan.job("collect").upstream):
        run(job)
    # Not by their jobs, which read the catalogs of the working directory.
    cells = plan.job("collect").outputs[0]
    write_cells(plan, cells)
    return write_outputs(plan, cells)


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()
