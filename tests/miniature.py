"""A study of the papers in miniature: its grid, methods, suites and hub repositories on tiny models and few tokens.

`derived` says what is replaced, and nothing else is: models keep their repository, revision and kind of files but have
two tiny blocks; N windows of calibration become log2(N) - 2 of 16 tokens; suites take 2 windows of 16 tokens, or 2 rows
of each task, which are made by hand; searches get 3 evaluations. `serve` puts those models on the hub for tests, and
`compute` runs all jobs of a plan in this process, each by the stage that its rule runs.
"""

import io
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

import hub_repositories
import tiny
from hub_server import HubServer
from prunebench.config.entries import HubModelSource, HubSource
from prunebench.config.schema import calibration_parts, with_catalogs
from prunebench.plan import dag, paths
from prunebench.plan.plan import Plan
from prunebench.stages.allocate import allocate
from prunebench.stages.calibrate import calibrate
from prunebench.stages.collect import collect
from prunebench.stages.evaluate import evaluate
from prunebench.stages.fetch_corpus import fetch_corpus
from prunebench.stages.fetch_model import fetch_model
from prunebench.stages.fetch_tasks import fetch_tasks
from prunebench.stages.gather_search import gather_search
from prunebench.stages.gradients import gradients
from prunebench.stages.outputs import write_outputs
from prunebench.stages.profile import profile
from prunebench.stages.prune import prune
from prunebench.stages.search_allocation import search_allocation
from zeroshot import ROWS, bundle

CATALOG = Path(__file__).parents[1] / "config/catalog"
SEQLEN, WINDOWS, ROWS_PER_TASK, EVALUATIONS = 16, 2, 2, 3
SIZES = {**hub_repositories.SIZES, "max_position_embeddings": 1024}
SHAPE = {key: value for key, value in hub_repositories.SHAPE.items() if key != "key_value"}
PACKAGED = ("piqa", "boolq", "rte", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "openbookqa")

Wildcards = Mapping[str, str]


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
    fewer = {"seqlen": SEQLEN, "windows": WINDOWS} if suite["suite"] == "perplexity" else {"limit": ROWS_PER_TASK}
    if suite["params"].get("num_fewshot"):
        fewer["num_fewshot"] = 2
    return {**suite, "params": suite["params"] | fewer}


def serve(hub: HubServer, plan: Plan, scratch: Path) -> None:
    """Put what `plan` fetches from the hub there: its models under their names at their revisions, texts, GSM8K."""
    hub_repositories.add_texts(hub)
    made: dict[str, dict[str, bytes]] = {}
    for name in dict.fromkeys(cell.model for cell in plan.cells):
        entry = plan.config.models[name]
        assert isinstance(entry.source, HubModelSource)
        if entry.family not in made:
            bos = "</s>" if entry.family == "opt" else "<s>"
            options = {} if entry.family == "opt" else {"num_key_value_heads": 4}
            tokenizer = deepcopy(hub_repositories.tokenizer(bos))
            tokenizer.eos_token = bos  # where generation ends
            place = tiny.make_model(scratch / entry.family, entry.family, tokenizer=tokenizer, **SIZES, **options)
            made[entry.family] = hub_repositories.files_of(place)
        files = made[entry.family]
        if entry.source.weights == "pytorch":
            files = hub_repositories.pickled(files)
        hub.add("models", entry.source.repo, files, entry.source.revision)
    for bundle_ in plan.config.tasks.values():
        if isinstance(bundle_.source, HubSource):
            files = {path: _parquet(ROWS[task]) for task, of in bundle_.tasks.items() for path in of.rows.values()}
            hub.add("datasets", bundle_.source.repo, files, bundle_.source.revision)


def compute(plan: Plan) -> list[Path]:
    """Run every job of `plan` in the working directory, in order; the tables in Markdown."""
    for job in dag.jobs(plan):
        if job.rule in STEPS:
            named = paths.expression(paths.RULES[job.rule].subject).fullmatch(job.subject)
            assert named is not None
            for file in job.outputs:
                file.parent.mkdir(parents=True, exist_ok=True)
            STEPS[job.rule](plan, named.groupdict())
    cells = Path(paths.CELLS)
    collect(plan, cells)
    return write_outputs(plan, cells)


def _at(pattern: str, of: Wildcards) -> Path:
    return Path(pattern.format(**of))


def _draw(of: Wildcards) -> tuple[str, str, int]:
    return of["model"], of["calibration"], int(of["seed"])


def _first(files: list[str]) -> Path | None:
    return Path(files[0]) if files else None


def _calibrate(plan: Plan, of: Wildcards) -> None:
    corpus = _at(paths.CORPUS, {"corpus": plan.calibration_corpus(of["calibration"])})
    tokens, record = _at(paths.TOKENS, of), _at(paths.TOKENS_RECORD, of)
    calibrate(plan.specs.tokens(*_draw(of)), _at(paths.MODEL, of), corpus, tokens, record)


def _profile(plan: Plan, of: Wildcards) -> None:
    files = {"model": paths.MODEL, "tokens": paths.TOKENS, "profile": paths.PROFILE, "measured": paths.PROFILE_MEASURED}
    profile(plan.specs.profile(*_draw(of)), **{name: _at(pattern, of) for name, pattern in files.items()})


def _gradients(plan: Plan, of: Wildcards) -> None:
    files = {"model": paths.MODEL, "tokens": paths.TOKENS}
    files |= {"gradients": paths.GRADIENTS, "measured": paths.GRADIENTS_MEASURED}
    gradients(plan.specs.gradients(*_draw(of)), **{name: _at(pattern, of) for name, pattern in files.items()})


def _search(plan: Plan, of: Wildcards) -> None:
    entry = plan.config.searches[of["search"]]
    search_allocation(
        plan.specs.search(of["search"], int(of["seed"])),
        model=_at(paths.MODEL, {"model": entry.model}),
        corpus=_at(paths.CORPUS, {"corpus": entry.corpus}),
        profile=Path(plan.search_profile(of["search"])),
        result=_at(paths.SEARCH, of),
        history=_at(paths.SEARCH_HISTORY, of),
        measured=_at(paths.SEARCH_MEASURED, of),
    )


def _gather(plan: Plan, of: Wildcards) -> None:
    results = list(map(Path, plan.seed_results(of["search"])))
    gather_search(plan.specs.search_best(of["search"]), results, _at(paths.SEARCH_BEST, of))


def _allocate(plan: Plan, of: Wildcards) -> None:
    point = plan.cell(of)
    allocate(
        plan.specs.allocation(point),
        model=_at(paths.MODEL, of),
        allocation=_at(paths.ALLOCATION, of),
        measured=_at(paths.ALLOCATION_MEASURED, of),
        profile=_first(plan.profile(point)),
        search=_first(plan.found(point)),
        tokens=_first(plan.allocator_tokens(point)),
    )


def _prune(plan: Plan, of: Wildcards) -> None:
    cell = plan.cell(of)
    prune(
        plan.specs.prune(cell),
        model=_at(paths.MODEL, of),
        tokens=_first(plan.tokens(cell)),
        gradients=_first(plan.gradients(cell)),
        allocation=Path(plan.allocation(cell)),
        assets=[_at(paths.ASSET, {"asset": asset}) for asset in plan.method_assets(cell.method)],
        weights=_at(paths.WEIGHTS, of),
        result=_at(paths.PRUNED, of),
        measured=_at(paths.PRUNE_MEASURED, of),
    )


def _evaluate(plan: Plan, of: Wildcards) -> None:
    evaluate(
        plan.specs.evaluation(plan.cell(of), of["suite"]),
        model=_at(paths.MODEL, of),
        pruned=_at(paths.PRUNED, of),
        weights=_at(paths.WEIGHTS, of),
        assets=[_at(paths.ASSET, {"asset": asset}) for asset in plan.suite_assets(of["suite"])],
        result=_at(paths.EVALUATION, of),
        measured=_at(paths.EVALUATION_MEASURED, of),
    )


STEPS: dict[str, Callable[[Plan, Wildcards], None]] = {
    "fetch_model": lambda plan, of: fetch_model(plan.specs.model(of["model"]), _at(paths.MODEL, of).parent),
    "fetch_corpus": lambda plan, of: fetch_corpus(plan.specs.corpus(of["corpus"]), _at(paths.CORPUS, of).parent),
    "fetch_tasks": lambda plan, of: fetch_tasks(plan.specs.tasks(of["tasks"]), _at(paths.TASKS, of).parent),
    "calibrate": _calibrate,
    "profile": _profile,
    "gradients": _gradients,
    "search_allocation": _search,
    "gather_search": _gather,
    "allocate": _allocate,
    "prune": _prune,
    "evaluate": _evaluate,
}


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()
