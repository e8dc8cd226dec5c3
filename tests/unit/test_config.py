"""Valid configs are accepted, and mistakes in a config are explained to the user."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from prunebench.config.schema import json_schema
from prunebench.errors import PrunebenchError
from prunebench.plan.checks import load_config
from prunebench.plan.plan import load_plan
from studies import PACKAGE, REMOVED, STUDY, changed

REPOSITORY = Path(__file__).parents[2]
CONFIGS = [REPOSITORY / "config/config.yaml", *sorted((REPOSITORY / "config/studies").glob("*.yaml"))]
GRID = "studies.tiny.grid"
ROW = f"{GRID}.1"

BUNDLE = {"title": "Mine", "source": {"kind": "path", "path": "rows"}}
SEARCH = {"title": "Evolution", "model": "tiny", "sparsity": 0.7, "strategy": "evolution", "seeds": [0, 1]}
SEARCH |= {"calibration": "text_4x16", "corpus": "text"}
HUB = {"kind": "hub", "repo": "facebook/opt-125m", "revision": "main"}
FILES = {"calibration": ["train.parquet"], "test": ["test.parquet"]}
HUB_TEXT: dict[str, Any] = {"title": "Text", "source": {**HUB, "files": FILES}, "documents": "parquet"}
MISTAKES: list[tuple[str, Any, str]] = [
    # names that nobody defines
    (f"{ROW}.method", "wandaa", "studies.tiny.grid[1].method: unknown method 'wandaa': did you mean 'wanda'?"),
    (f"{ROW}.model", "tinny", "studies.tiny.grid[1].model: unknown model 'tinny': did you mean 'tiny'?"),
    (
        f"{ROW}.allocator",
        ["uniform", "unifrom"],
        "studies.tiny.grid[1].allocator: unknown allocator 'unifrom': did you mean 'uniform'?",
    ),
    ("studies.tiny.suites", "ppl_tin", "studies.tiny.suites[0]: unknown suite 'ppl_tin': did you mean 'ppl_tiny'?"),
    (
        "studies.tiny.defaults.calibration",
        "txt_4x16",
        "studies.tiny.defaults.calibration: unknown corpus 'txt': did you mean 'text'?",
    ),
    (
        "studies.tiny.exclude",
        [{"method": "dens"}],
        "studies.tiny.exclude[0].method: unknown method 'dens': did you mean 'dense'?",
    ),
    ("studies.tiny.published", "Wandaa", "studies.tiny.published[0]: unknown source 'Wandaa': did you mean 'Wanda'?"),
    (
        "suites.ppl_tiny.params.corpora",
        ["texty"],
        "suites.ppl_tiny.params.corpora: unknown corpus 'texty': did you mean 'text'?",
    ),
    (
        "suites.ppl_tiny.suite",
        "zzz",
        "suites.ppl_tiny.suite: unknown suite 'zzz' (known: lm_eval, perplexity, speed, vqa)",
    ),
    (
        f"{ROW}.suites",
        ["ppl_tiny", "ppl_tin"],
        "studies.tiny.grid[1].suites[1]: unknown suite 'ppl_tin': did you mean 'ppl_tiny'?",
    ),
    (
        "suites.few_tiny.params.data",
        "fw",
        "suites.few_tiny.params.data: unknown bundle of tasks 'fw': did you mean 'few'?",
    ),
    (
        "suites.few_tiny.params.tasks",
        ["rte", "rta"],
        "suites.few_tiny.params.tasks: few has no task 'rta': did you mean 'rte'?",
    ),
    ("suites.few_tiny.params.tasks", [], "suites.few_tiny.params.tasks: must not be empty (got [])"),
    ("suites.few_tiny.params.limit", 1, "suites.few_tiny.params.limit: must be greater than or equal to 2 (got 1)"),
    ("suites.few_tiny.params.seed", -1, "suites.few_tiny.params.seed: must be greater than or equal to 0 (got -1)"),
    ("tasks.few.tasks.rte.rows", {}, "tasks.few.tasks.rte.rows: must not be empty (got {})"),
    ("tasks.few.tasks.rte.stok", "x", "unknown key 'tasks.few.tasks.rte.stok': did you mean 'stock'?"),
    (
        "tasks.few.tasks.rte.requests",
        "arcs",
        "tasks.few.tasks.rte.requests: must be 'arc', 'boolq', 'lambada' or 'openbookqa' (got 'arcs'): did you mean "
        "'arc'?",
    ),
    (
        "tasks.few.tasks",
        {"a b": STUDY["tasks"]["few"]["tasks"]["rte"]},
        "tasks.few.tasks.a b: must be letters, digits, '_' and '-' (got 'a b')",
    ),
    (
        "methods.wanda",
        {"method": "magnitude"},
        "methods.wanda.method: 'wanda' is the name of a plug-in, and this entry is of another: "
        "give it a name of its own",
    ),
    (
        "allocators.owl",
        {"allocator": "uniform"},
        "allocators.owl.allocator: 'owl' is the name of a plug-in, and this entry is of another: "
        "give it a name of its own",
    ),
    ("methods.mine.method", "wnda", "methods.mine.method: unknown method 'wnda': did you mean 'wanda'?"),
    (
        "allocators.mine.allocator",
        "unifrm",
        "allocators.mine.allocator: unknown allocator 'unifrm': did you mean 'uniform'?",
    ),
    (
        "methods.wanda_down.preset",
        "relased",
        "methods.wanda_down.preset: unknown preset 'relased': did you mean 'released'?",
    ),
    ("models.tiny.family", "lama", "models.tiny.family: unknown family 'lama': did you mean 'llama'?"),
    ("searches.mine", {**SEARCH, "model": "tini"}, "searches.mine.model: unknown model 'tini': did you mean 'tiny'?"),
    (
        "searches.mine",
        {**SEARCH, "strategy": "evolutionary"},
        "searches.mine.strategy: must be 'evolution', 'random' or 'grid' (got 'evolutionary'): "
        "did you mean 'evolution'?",
    ),
    (
        "studies.tiny.tables",
        ["gain", "alocators"],
        "studies.tiny.tables[1]: must be 'allocators' or 'gain' (got 'alocators'): did you mean 'allocators'?",
    ),
    ("searches.mine", {**SEARCH, "seeds": []}, "searches.mine.seeds: must not be empty (got [])"),
    # keys that do not exist
    ("studis", {}, "unknown key 'studis': did you mean 'studies'?"),
    ("studies.tiny.suite", [], "unknown key 'studies.tiny.suite': did you mean 'suites'?"),
    (f"{ROW}.sparsitty", 0.5, "unknown key 'studies.tiny.grid[1].sparsitty': did you mean 'sparsity'?"),
    ("keep_weights", "masks", "keep_weights: must be 'packed', 'mask' or 'none' (got 'masks'): did you mean 'mask'?"),
    ("compute.thread", 2, "unknown key 'compute.thread': did you mean 'threads'?"),
    ("models.tiny.famly", "x", "unknown key 'models.tiny.famly': did you mean 'family'?"),
    ("models.tiny.source.verion", "x", "unknown key 'models.tiny.source.verion': did you mean 'version'?"),
    (
        "corpora.text.source",
        {"kind": "path", "path": "x", "zz": 1},
        "unknown key 'corpora.text.source.zz' (known: kind, path)",
    ),
    ("models.tiny.shape.hiden", 1, "unknown key 'models.tiny.shape.hiden': did you mean 'hidden'?"),
    (
        "methods.wanda_down.params",
        {"roundin": "down"},
        "unknown key 'methods.wanda_down.params.roundin': did you mean 'rounding'?",
    ),
    (
        "methods.wanda_down.compute",
        {"batchsize": 1},
        "unknown key 'methods.wanda_down.compute.batchsize': did you mean 'batch_size'?",
    ),
    ("suites.ppl_tiny.params.seqlenn", 3, "unknown key 'suites.ppl_tiny.params.seqlenn': did you mean 'seqlen'?"),
    # sparsity and pattern
    (
        f"{ROW}.sparsity",
        1.2,
        "studies.tiny.grid[1].sparsity: 1.2 is outside [0, 1): sparsity is the fraction of weights that become zero",
    ),
    (
        f"{ROW}.sparsity",
        [0.5, -0.1],
        "studies.tiny.grid[1].sparsity[1]: -0.1 is outside [0, 1): sparsity is the fraction of weights that become "
        "zero",
    ),
    (f"{ROW}.sparsity", "fifty", "studies.tiny.grid[1].sparsity: 'fifty' is not a number"),
    (f"{ROW}.sparsity", True, "studies.tiny.grid[1].sparsity: True is not a number"),
    (
        f"{ROW}.sparsity",
        0.123,
        "studies.tiny.grid[1].sparsity: 0.123 has more than two decimals, which is finer than the benchmark "
        "distinguishes",
    ),
    (f"{ROW}.sparsity", [], "studies.tiny.grid[1].sparsity: must not be empty (got [])"),
    (f"{ROW}.sparsity", REMOVED, "studies.tiny.grid[1]: 'sparsity' is missing (here or under 'defaults')"),
    (
        f"{ROW}.pattern",
        "4of2",
        "studies.tiny.grid[1].pattern: '4of2' must keep at least 1 and fewer than 2 of every 2 weights",
    ),
    (
        f"{ROW}.pattern",
        "0of4",
        "studies.tiny.grid[1].pattern: '0of4' must keep at least 1 and fewer than 4 of every 4 weights",
    ),
    (
        f"{ROW}.pattern",
        "2:4",
        "studies.tiny.grid[1].pattern: n:m patterns are written 2of4, for 2 kept of every 4 inputs (got '2:4')",
    ),
    (
        f"{ROW}.pattern",
        yaml.safe_load("2:4"),
        "studies.tiny.grid[1].pattern: n:m patterns are written 2of4, for 2 kept of every 4 inputs; YAML reads 2:4 as "
        "124, a number of base 60",
    ),
    (
        f"{ROW}.pattern",
        yaml.safe_load("4:8"),
        "studies.tiny.grid[1].pattern: n:m patterns are written 2of4, for 2 kept of every 4 inputs; YAML reads 4:8 as "
        "248, a number of base 60",
    ),
    (
        f"{ROW}.pattern",
        8,
        "studies.tiny.grid[1].pattern: n:m patterns are written 2of4, for 2 kept of every 4 inputs (got 8)",
    ),
    (
        GRID,
        [{"method": "wanda", "pattern": "2of7"}],
        "studies.tiny.grid[0].pattern: 2of7 does not fit tiny: groups of 7 do not divide its hidden width 32",
    ),
    (
        GRID,
        [{"method": "wanda", "pattern": "2of32"}],
        "studies.tiny.grid[0].pattern: 2of32 does not fit tiny: groups of 32 do not divide its ffn width 48",
    ),
    (
        GRID,
        [{"method": "wanda", "pattern": "2of4", "sparsity": [0.6, 0.7]}],
        "studies.tiny.grid[0].sparsity: 2of4 fixes the sparsity at 0.50, not 0.60, 0.70",
    ),
    # other axes
    (
        "studies.tiny.defaults.calibration",
        REMOVED,
        "studies.tiny.grid[1]: 'calibration' is missing (here or under 'defaults')",
    ),
    (
        "studies.tiny.defaults.calibration",
        "text_4",
        "studies.tiny.defaults.calibration: must be of the form CORPUS_SAMPLESxSEQLEN, as in c4_type_16x512, with a "
        "SEQLEN of 2 or more (got 'text_4')",
    ),
    (
        f"{ROW}.method",
        "external",
        "studies.tiny.grid[1].method: unknown method 'external': it needs parameters (model), so give it an entry of "
        "its own under 'methods'",
    ),
    (
        "methods.mine",
        {"method": "external", "params": {"model": "tini"}},
        "methods.mine.params.model: unknown model 'tini': did you mean 'tiny'?",
    ),
    (f"{ROW}.seed", -1, "studies.tiny.grid[1].seed: must be greater than or equal to 0 (got -1)"),
    (f"{ROW}.method", 7, "studies.tiny.grid[1].method: must be text (got 7)"),
    (GRID, [], "studies.tiny.grid: must not be empty (got [])"),
    (GRID, {"method": "dense"}, "studies.tiny.grid: must be a list (got {'method': 'dense'})"),
    (f"{GRID}.0", "dense", "studies.tiny.grid[0]: must be a mapping of keys to values (got 'dense')"),
    (
        "studies.tiny.exclude",
        [{"sparsity": 0.7}, {"method": "wanda", "sparsity": 0.7}, {"method": "sparsegpt"}],
        "studies.tiny.exclude[2]: no cell matches: correct it, or delete it",
    ),
    ("studies.tiny.exclude", [{}], "studies.tiny: no cells are left: 'exclude' matches all of them"),
    (
        "tasks.mine",
        {**BUNDLE, "tasks": {"mmlu": {"stock": "mmlu/mmlu_*.yaml", "rows": {"test": "rows.jsonl"}}}},
        "tasks.mine.tasks.mmlu: '*' stands for a subject: put one into 'stock' and all of 'rows', or into none of them "
        "(got {'stock': 'mmlu/mmlu_*.yaml', 'rows': {'test': 'rows.jsonl'}})",
    ),
    (
        "tasks.mine",
        {
            **BUNDLE,
            "source": {"kind": "hub", "repo": "some/rows", "revision": "main"},
            "tasks": {"mmlu": {"stock": "mmlu/mmlu_*.yaml", "rows": {"test": "*.jsonl"}}},
        },
        "tasks.mine: a hub source names every file: replace the '*' by names, or write *-of-00004 for parts "
        "(got {'title': 'Mine', 'source': {'kind': "
        "'hub', 'repo': 'some/rows', 'revision': 'main'}, 'tasks': {'mmlu': {'stock': 'mmlu/mmlu_*.yaml', 'rows': "
        "{'test': '*.jsonl'}}}})",
    ),
    # the rest
    ("studies", REMOVED, "'studies' is missing: a config names at least one study"),
    ("studies", {}, "'studies' is missing: a config names at least one study"),
    ("studies.tiny.suites", REMOVED, "'studies.tiny.suites' is missing"),
    ("compute.threads", 0, "compute.threads: must be greater than 0 (got 0)"),
    (
        "compute.dtype",
        "bfloat",
        "compute.dtype: must be 'float32', 'bfloat16' or 'float16' (got 'bfloat'): did you mean 'bfloat16'?",
    ),
    (
        "methods.wanda_down.params.rounding",
        "dwn",
        "methods.wanda_down.params.rounding: must be 'nearest' or 'down' (got 'dwn'): did you mean 'down'?",
    ),
    (
        "methods.Mine",
        {"method": "wanda"},
        "methods.Mine: must be lower-case letters, digits and '_', a letter or digit first, and a digit after each '.' "
        "(got 'Mine'): did you mean 'mine'?",
    ),
    (
        "studies.tiny.defaults.model",
        "smollm2-135m",
        "studies.tiny.defaults.model: must be lower-case letters, digits and '_', a letter or digit first, and a digit "
        "after each '.' (got 'smollm2-135m'): did you mean 'smollm2_135m'?",
    ),
    (
        "studies.tiny.defaults.model",
        "HuggingFaceTB/SmolLM2-135M",
        "studies.tiny.defaults.model: a model on the hub is written {hub: HuggingFaceTB/SmolLM2-135M}, and a directory "
        "is written {path: HuggingFaceTB/SmolLM2-135M} (got 'HuggingFaceTB/SmolLM2-135M')",
    ),
    (
        "studies.tiny.defaults.model",
        "../models/mine",
        "studies.tiny.defaults.model: a directory is written {path: ../models/mine} (got '../models/mine')",
    ),
    (
        "studies.tiny.defaults.calibration",
        "c4-type_16x512",
        "studies.tiny.defaults.calibration: must be of the form CORPUS_SAMPLESxSEQLEN, as in c4_type_16x512, with a "
        "SEQLEN of 2 or more (got 'c4-type_16x512'): did you mean 'c4_type_16x512'?",
    ),
    ("models.tiny.source.sha256", "00", "models.tiny.source.sha256: must be 64 hexadecimal digits (got '00')"),
    ("models.tiny.source.package", REMOVED, "'models.tiny.source.package' is missing"),
    (
        "models.tiny.source",
        {"kind": "pth"},
        "models.tiny.source: 'kind' must be one of 'package', 'path', 'trained', 'hub' (got {'kind': 'pth'})",
    ),
    ("models.tiny.source", {"path": "x"}, "models.tiny.source: 'kind' is missing (got {'path': 'x'})"),
    ("models.tiny.source", HUB | {"repo": "a/b/c"}, "models.tiny.source.repo: must be OWNER/NAME (got 'a/b/c')"),
    (
        "models.tiny.source",
        HUB | {"revision": "-x"},
        "models.tiny.source.revision: must be a commit, branch, tag or refs/... (got '-x')",
    ),
    (
        "models.tiny.source",
        HUB | {"weights": "pickle"},
        "models.tiny.source.weights: must be 'safetensors' or 'pytorch' (got 'pickle')",
    ),
    (
        "corpora.text.source",
        HUB_TEXT["source"] | {"files": {"train": ["a"]}},
        "corpora.text.source.files.train: must be 'calibration', 'tuning' or 'test' (got 'train')",
    ),
]


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without catalogs, in which only the config itself has entries."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def message(config: Any) -> str:
    with pytest.raises(PrunebenchError) as error:
        load_plan(config, "my.yaml")
    return str(error.value)


def test_the_unchanged_config_is_valid() -> None:
    assert len(load_plan(STUDY).cells) == 5


@pytest.mark.parametrize(("path", "value", "expected"), MISTAKES)
def test_a_mistake_is_explained(path: str, value: Any, expected: str) -> None:
    assert message(changed(path, value)) == f"my.yaml: {expected}"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            changed("suites.ppl_tiny.params.split", "tuning"),
            "suites.ppl_tiny.params.corpora: corpus 'text' has no split tuning (it has: calibration, test)",
        ),
        (
            changed("searches.mine", SEARCH),
            "searches.mine.corpus: corpus 'text' has no split tuning (it has: calibration, test)",
        ),
    ],
)
def test_a_split_that_a_hub_corpus_does_not_have(config: dict[str, Any], expected: str) -> None:
    assert message(changed("corpora.text", HUB_TEXT, config)) == f"my.yaml: {expected}"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("corpora.text", HUB_TEXT | {"documents": "lines"}, "'documents' of a hub source must be parquet or jsonl"),
        (
            "corpora.text",
            HUB_TEXT | {"use": "training"},
            "'documents' of a hub source must be parquet or jsonl, and 'use'",
        ),
        ("corpora.text.join", " ", "'join' is for a hub source, which has splits of its own"),
        ("corpora.text.column", "body", "'column' is for documents in jsonl or parquet (or auto)"),
        ("corpora.text.test_documents", 5, "'test_documents' is for a hub source, which has splits of its own"),
    ],
)
def test_keys_go_with_the_source_of_a_corpus(path: str, value: Any, expected: str) -> None:
    assert message(changed(path, value)).startswith(f"my.yaml: corpora.text: {expected}")


def test_a_hub_model_is_no_gguf() -> None:
    config = changed("models.tiny.source", HUB, changed("models.tiny.format", "gguf"))
    assert message(config).startswith("my.yaml: models.tiny: 'format' must be transformers: a GGUF file")


def test_a_hub_corpus_to_calibrate_on_needs_that_split() -> None:
    config = changed("corpora.text", HUB_TEXT)
    assert len(load_plan(config).cells) == 5
    config = changed("corpora.text.source.files", {"test": ["test.parquet"]}, config)
    where = "studies.tiny.defaults.calibration"
    assert message(config) == f"my.yaml: {where}: corpus 'text' has no split calibration (it has: test)"


def test_all_mistakes_are_listed() -> None:
    config = changed("compute.threads", 0, changed("studies.tiny.titel", "x"))
    assert message(config) == (
        "my.yaml: unknown key 'studies.tiny.titel': did you mean 'title'?\n"
        "my.yaml: compute.threads: must be greater than 0 (got 0)"
    )
    config = changed("models.tiny.family", "lama", changed(f"{GRID}.0.method", "dens"))
    assert len(message(config).splitlines()) == 2


def test_a_study_shows_searches_that_there_are() -> None:
    config = changed("searches.mine", SEARCH, changed("studies.tiny.searches", ["mine", "min"]))
    assert message(config) == "my.yaml: studies.tiny.searches[1]: unknown search 'min': did you mean 'mine'?"
    config = changed("studies.tiny.searches", "mine", config)
    assert load_config(config).studies["tiny"].searches == ["mine"]
    assert load_config(config).searches["mine"].sparsity == "0.70"


def test_a_table_needs_a_suite_that_measures_what_it_shows() -> None:
    config = changed("studies.tiny.tables", ["allocators", "gain"])
    assert load_config(config).studies["tiny"].tables == ["allocators", "gain"]
    config = changed("studies.tiny.suites", "few_tiny", config)
    assert message(config) == "my.yaml: studies.tiny.tables[0]: 'allocators' needs a suite that measures perplexity"


@pytest.mark.parametrize("kind", ["models", "corpora"])
def test_a_local_path_must_be_there_if_it_is_used(kind: str, empty_directory: Path) -> None:
    name = {"models": "tiny", "corpora": "text"}[kind]
    missing = {"kind": "path", "path": "assets/nothing"}
    assert message(changed(f"{kind}.{name}.source", missing)) == (
        f"my.yaml: {kind}.{name}.source.path: no such file or directory: assets/nothing (looked for from the working "
        f"directory {empty_directory}). Correct 'path' in the catalog"
    )
    unused = {**STUDY[kind][name], "source": missing}
    assert load_plan(changed(f"{kind}.unused", unused)).cells == load_plan(STUDY).cells


def test_a_mistake_in_a_catalog_names_its_file(empty_directory: Path) -> None:
    catalog = empty_directory / "config/catalog"
    catalog.mkdir(parents=True)
    (catalog / "methods.yaml").write_text("mine: {method: wanda, preset: paprika}\n")
    assert (
        message(STUDY) == "config/catalog/methods.yaml: methods.mine.preset: unknown preset 'paprika': did you mean "
        "'paper'?"
    )
    (catalog / "methods.yaml").write_text("mine: {methd: wanda}\n")
    assert message(STUDY).splitlines() == [
        "config/catalog/methods.yaml: 'mine.method' is missing",
        "config/catalog/methods.yaml: unknown key 'mine.methd': did you mean 'method'?",
    ]
    (catalog / "methods.yaml").write_text("mine: {method: wanda\n")
    assert message(STUDY).startswith("config/catalog/methods.yaml, line 2: this is not valid YAML: ")


def test_an_entry_of_the_config_replaces_that_of_the_catalog(empty_directory: Path) -> None:
    catalog = empty_directory / "config/catalog"
    catalog.mkdir(parents=True)
    (catalog / "methods.yaml").write_text(
        "wanda_down: {method: wanda, params: {rounding: nearest}}\nmine: {method: magnitude}\n"
    )
    methods = load_config(STUDY).methods
    assert methods["wanda_down"].params == {"rounding": "down"}
    assert methods["mine"].method == "magnitude"


def test_one_value_may_stand_for_a_list() -> None:
    config = changed("studies.tiny.suites", "ppl_tiny", changed(f"{GRID}.0.method", ["dense"]))
    assert load_config(config) == load_config(STUDY)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_valid_for_us_and_for_editors(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert load_plan(raw, str(file)).cells
    jsonschema.validate(raw, json.loads(json_schema()))


def test_the_schema_refuses_what_we_refuse() -> None:
    schema = json.loads(json_schema())
    jsonschema.validate(STUDY, schema)
    for path, value in [("compute.thread", 2), (f"{ROW}.sparsitty", 0.5), ("models.tiny.source", {**PACKAGE, "x": 1})]:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(changed(path, value), schema)


def test_the_schema_on_disk_is_up_to_date() -> None:
    stored = (REPOSITORY / "config/schema.json").read_text(encoding="utf-8")
    assert stored == json_schema(), (
        "write it again: config/schema.json is what prunebench.config.schema.json_schema() returns"
    )
