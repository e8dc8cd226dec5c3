"""The configuration: what a config file may say, and errors that name file, key, value and the nearest valid name.

Imports no torch: every cluster job parses the Snakefile, and with it this module.
"""

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, Field, RootModel, ValidationError

from prunebench import registry
from prunebench.catalog import (
    AllocatorEntry,
    Compute,
    CorpusEntry,
    Entry,
    MethodEntry,
    ModelEntry,
    PluginEntry,
    Slug,
    SuiteEntry,
)
from prunebench.errors import PrunebenchError
from prunebench.patterns import parse_pattern, sparsity_text

Model = TypeVar("Model", bound=BaseModel)

CATALOG = Path("config/catalog")
CALIBRATION = r"^(?P<corpus>[a-z0-9][a-z0-9_.]*)_(?P<samples>[1-9]\d*)x(?P<seqlen>[1-9]\d*)$"


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _checked_pattern(value: Any) -> str:
    return str(parse_pattern(str(value)))


Sparsity = Annotated[str, BeforeValidator(sparsity_text), Field(json_schema_extra={"examples": [0.5, 0.7]})]
PatternText = Annotated[str, BeforeValidator(_checked_pattern)]
Calibration = Annotated[str, Field(pattern=CALIBRATION)]
Seed = Annotated[int, Field(ge=0, strict=True)]


class Axes(Entry):
    """The axes of the grid. Each takes one value or a list; a row of the grid is the product of its lists."""

    model: Annotated[list[Slug], BeforeValidator(_as_list)] | None = Field(None, description="catalog names")
    method: Annotated[list[Slug], BeforeValidator(_as_list)] | None = Field(None, description="method names")
    allocator: Annotated[list[Slug], BeforeValidator(_as_list)] | None = Field(None, description="default: uniform")
    pattern: Annotated[list[PatternText], BeforeValidator(_as_list)] | None = Field(
        None, description="unstructured (default), or 2of4: 2 kept of every 4 inputs"
    )
    sparsity: Annotated[list[Sparsity], BeforeValidator(_as_list)] | None = Field(
        None, description="fraction of zeros; an n:m pattern fixes its own"
    )
    calibration: Annotated[list[Calibration], BeforeValidator(_as_list)] | None = Field(
        None, description="CORPUS_SAMPLESxSEQLEN, as in c4_type_16x512"
    )
    seed: Annotated[list[Seed], BeforeValidator(_as_list)] | None = Field(None, description="default: 0")


class Study(Entry):
    """A named grid of cells, and the suites that evaluate them."""

    title: str = ""
    suites: list[Slug] = Field(min_length=1)
    defaults: Axes = Field(default_factory=Axes, description="axes that every row shares unless it says otherwise")
    grid: list[Axes] = Field(min_length=1)
    exclude: list[Axes] = Field(default_factory=list, description="cells that match all axes of a row are left out")


class Config(Entry):
    """The root of a config file. The catalog sections add entries to those of config/catalog/."""

    studies: dict[Slug, Study] = Field(min_length=1)
    compute: Compute = Field(default_factory=Compute)
    models: dict[Slug, ModelEntry] = Field(default_factory=dict)
    corpora: dict[Slug, CorpusEntry] = Field(default_factory=dict)
    methods: dict[Slug, MethodEntry] = Field(default_factory=dict)
    allocators: dict[Slug, AllocatorEntry] = Field(default_factory=dict)
    suites: dict[Slug, SuiteEntry] = Field(default_factory=dict)


CATALOGS: dict[str, type[Entry]] = {
    "models": ModelEntry,
    "corpora": CorpusEntry,
    "methods": MethodEntry,
    "allocators": AllocatorEntry,
    "suites": SuiteEntry,
}


def load_config(raw: dict[str, Any], file: str = "config/config.yaml", catalog: Path = CATALOG) -> Config:
    """Validate `raw` (the parsed config `file`), complete it with the catalogs, check every name and parameter.

    Raises PrunebenchError listing all mistakes found.
    """
    config = validate(Config, raw, file)
    merged = {
        kind: {**_catalog_entries(catalog / f"{kind}.yaml", entry), **getattr(config, kind)}
        for kind, entry in CATALOGS.items()
    }
    # Methods and allocators are usable under their own name without an entry: adding one is adding a file.
    merged["methods"] = {name: MethodEntry(method=name) for name in registry.names("methods")} | merged["methods"]
    merged["allocators"] = {name: AllocatorEntry(allocator=name) for name in registry.names("allocators")} | merged[
        "allocators"
    ]
    config = config.model_copy(update=merged)
    mistakes = [*_unknown_names(config), *_bad_parameters(config)]
    if mistakes:
        raise PrunebenchError("\n".join(f"{file}: {mistake}" for mistake in mistakes))
    return config


def validate(model: type[Model], raw: Any, file: str | Path) -> Model:
    """`raw` as an instance of `model`; PrunebenchError names file, key, value and the nearest valid key."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise PrunebenchError("\n".join(f"{file}: {line}" for line in explain(error, model))) from None


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line per mistake that pydantic found, in words a user of the config file understands."""
    lines = []
    for mistake in error.errors(include_url=False):
        location = [part for part in mistake["loc"] if not _is_branch_tag(part)]
        key = _dotted(location)
        if mistake["type"] == "extra_forbidden":
            hint = registry.did_you_mean(str(location[-1]), _sibling_keys(model, location))
            lines.append(f"unknown key {key!r}{hint}")
        elif mistake["type"] == "missing":
            lines.append(f"{key!r} is missing")
        else:
            text = mistake["msg"].removeprefix("Value error, ")
            lines.append(f"{key}: {text} (got {mistake['input']!r})" if key else text)
    return list(dict.fromkeys(lines))


def _is_branch_tag(part: int | str) -> bool:
    """Whether pydantic added this to a location to say which branch of a type it tried."""
    return isinstance(part, str) and (part in ("package", "path") or part.startswith(("function-", "list[", "tagged-")))


def _dotted(location: list[int | str]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _sibling_keys(model: type[BaseModel], location: list[int | str]) -> list[str]:
    """The keys that would have been valid at `location`, read from the JSON schema of `model`."""
    root = model.model_json_schema()
    nodes = [root]
    for part in location[:-1]:
        nodes = [child for node in nodes for child in _children(root, node, part)]
    return sorted({key for node in nodes for leaf in _variants(root, node) for key in leaf.get("properties", {})})


def _variants(root: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    """`node` with references resolved and alternatives spread out."""
    if "$ref" in node:
        return _variants(root, root["$defs"][node["$ref"].rsplit("/", 1)[-1]])
    options = node.get("anyOf", []) + node.get("oneOf", [])
    return [leaf for option in options for leaf in _variants(root, option)] or [node]


def _children(root: dict[str, Any], node: dict[str, Any], part: int | str) -> list[dict[str, Any]]:
    for leaf in _variants(root, node):
        child = leaf.get("items") if isinstance(part, int) else leaf.get("properties", {}).get(part)
        child = child or leaf.get("additionalProperties")
        if isinstance(child, dict):
            return [child]
    return []


def _catalog_entries(path: Path, entry: type[Entry]) -> dict[str, Any]:
    if not path.exists():
        return {}
    raw = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    entries: dict[str, Any] = validate(RootModel[dict[Slug, entry]], raw, path).root  # type: ignore[valid-type]
    return entries


def _unknown_names(config: Config) -> list[str]:
    """Every catalog name that a study uses and nobody defines."""
    mistakes = []
    for name, study in config.studies.items():
        rows = {"defaults": study.defaults}
        rows |= {f"grid[{i}]": row for i, row in enumerate(study.grid)}
        rows |= {f"exclude[{i}]": row for i, row in enumerate(study.exclude)}
        uses = [(f"suites[{i}]", "suites", suite) for i, suite in enumerate(study.suites)]
        for where, row in rows.items():
            for axis, kind in (("model", "models"), ("method", "methods"), ("allocator", "allocators")):
                uses += [(f"{where}.{axis}", kind, value) for value in getattr(row, axis) or []]
            for value in row.calibration or []:
                uses.append((f"{where}.calibration", "corpora", calibration_corpus(value)))
        for where, kind, value in uses:
            known = getattr(config, kind)
            if value not in known:
                singular = {"corpora": "corpus"}.get(kind, kind.removesuffix("s"))
                hint = registry.did_you_mean(value, known)
                mistakes.append(f"studies.{name}.{where}: unknown {singular} {value!r}{hint}")
    return mistakes


def _bad_parameters(config: Config) -> list[str]:
    """Every plug-in, preset or parameter of a catalog entry that does not exist or does not validate."""
    mistakes = []
    for kind, singular in (("methods", "method"), ("allocators", "allocator"), ("suites", "suite")):
        for slug, entry in getattr(config, kind).items():
            try:
                plugin = configured(kind, entry)
                for corpus in getattr(plugin, "corpora", ()):
                    if corpus not in config.corpora:
                        hint = registry.did_you_mean(corpus, config.corpora)
                        mistakes.append(f"{kind}.{slug}.params.corpora: unknown corpus {corpus!r}{hint}")
            except PrunebenchError as error:
                mistakes += [f"{kind}.{slug}: {line}" for line in str(error).splitlines()]
            except KeyError:
                plugin = registry.load(kind, getattr(entry, singular))
                hint = registry.did_you_mean(entry.preset, plugin.presets)
                mistakes.append(f"{kind}.{slug}.preset: unknown preset {entry.preset!r}{hint}")
            except ValidationError as error:
                plugin = registry.load(kind, getattr(entry, singular))
                mistakes += [f"{kind}.{slug}.params: {line}" for line in explain(error, plugin.Params)]
    for slug, model in config.models.items():
        if model.family not in registry.names("models"):
            hint = registry.did_you_mean(model.family, registry.names("models"))
            mistakes.append(f"models.{slug}.family: unknown family {model.family!r}{hint}")
    return mistakes


def configured(kind: str, entry: Any) -> Any:
    """The plug-in instance that a methods, allocators or suites entry describes."""
    plugin = registry.load(kind, getattr(entry, kind.removesuffix("s")))
    preset = entry.preset if isinstance(entry, PluginEntry) else "paper"
    return plugin(plugin.configure(preset, entry.params))


def calibration_corpus(calibration: str) -> str:
    """The corpus of a calibration name: c4_type for c4_type_16x512."""
    return calibration_parts(calibration)[0]


def calibration_parts(calibration: str) -> tuple[str, int, int]:
    """(corpus, samples, sequence length) of a calibration name such as c4_type_16x512."""
    corpus, _, size = calibration.rpartition("_")
    samples, _, seqlen = size.partition("x")
    return corpus, int(samples), int(seqlen)


def json_schema() -> str:
    """The JSON schema of a config file, for editors; config/schema.json is generated from it."""
    return json.dumps(Config.model_json_schema(), indent=1, sort_keys=True) + "\n"
