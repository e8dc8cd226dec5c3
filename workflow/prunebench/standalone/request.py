"""What a user asks for one model, as one cell: the checks and the jobs of the DAG apply to it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prunebench import registry
from prunebench.assets.texts import text_files
from prunebench.assets.titles import title_of
from prunebench.assets.tokens import check_ids, load_ids
from prunebench.cell import Cell
from prunebench.config.entries import STORED
from prunebench.config.entries import Compute as ComputeEntry
from prunebench.config.explain import error_lines
from prunebench.config.schema import CATALOGS, SINGULAR, Config, Row
from prunebench.engine.contract import Method
from prunebench.errors import PrunebenchError
from prunebench.identity.canonical import canonical
from prunebench.models.base import FeedForward
from prunebench.patterns import parse_pattern, sparsity_text
from prunebench.plan.checks import load_config, plugin_mistakes, unfit
from prunebench.plan.grid import check_divides, model_shape, normal_form, product, search_used, supports
from prunebench.plan.plan import Plan
from prunebench.runtime.cgroups import cpu_limit
from prunebench.storage.files import sha256_file
from prunebench.storage.layout import read_layout

PROJECT = Path(__file__).resolve().parents[3]
"""The project that this package belongs to: its catalogs are known by name, its downloads are used."""
CATALOG = PROJECT / "config/catalog"
GIVEN = "given"
"""What a token file of the user's is called among corpora."""
LONGEST_NAME = 100
"""Letters of a name that becomes part of a path, which a file system limits."""

OWN = "one"
"""What the method and the allocator of a request are called among the catalogs, where they have parameters."""


def cores() -> int:
    """The CPUs that this process may use."""
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(seen, int(cpu_limit() or seen)))


@dataclass(frozen=True)
class Compute:
    """How forward passes run. All of it moves numbers."""

    dtype: str = "bfloat16"
    batch_size: int = 8
    threads: int = field(default_factory=cores)

    @property
    def entry(self) -> dict[str, Any]:
        """As a config says it."""
        return {"dtype": self.dtype, "batch_size": self.batch_size, "threads": self.threads}


@dataclass(frozen=True)
class Request:
    """One model to be pruned. `model` is a directory or a name of catalog/models.yaml."""

    model: str
    method: str
    sparsity: float | str | None = None
    pattern: str = "unstructured"
    allocator: str = "uniform"
    params: Mapping[str, Any] = field(default_factory=dict)
    allocator_params: Mapping[str, Any] = field(default_factory=dict)
    tokens: Path | None = None
    """int64 [samples, seqlen] (.npy); otherwise windows drawn with `seed` from `text`, or else from `corpus`."""
    text: Path | None = None
    """A file or directory of text, all of which is calibration text."""
    column: str | None = None
    """The key or column of `text` that holds the text; None: "text"."""
    bos: bool | None = None
    """Whether each window that is drawn begins with a BOS token; None: as the model's tokenizer does by itself."""
    corpus: str = "c4_type"
    samples: int = 128
    seqlen: int = 512
    seed: int = 0
    compute: Compute = field(default_factory=Compute)


@dataclass(frozen=True)
class Work:
    """A request made concrete."""

    plan: Plan
    """The catalogs, and entries of the request's own: a plan without a study."""
    cell: Cell
    tokens: Path | None
    """Token ids that the user gives; otherwise they are drawn."""
    own_text: bool = False
    """Whether they are drawn from a text that the user gives."""
    bos: bool | None = None


def work(request: Request) -> Work:
    """The cell of `request`. Raises PrunebenchError naming the option that is wrong, before anything is computed."""
    name, entries = model_entry(request.model)
    if request.tokens and request.bos is not None:
        raise PrunebenchError("--bos: the windows of token ids are taken as they are; leave it out")
    if request.column is not None and not request.text:
        raise PrunebenchError("--column belongs to a text of one's own, with --calibration: leave it out")
    given = load_ids(request.tokens) if request.tokens else None
    samples, seqlen = (request.samples, request.seqlen) if given is None else given.shape
    corpus = _corpus(request)
    _check_names(request)
    sections: dict[str, Any] = {"models": entries}
    if request.tokens or request.text:
        sections["corpora"] = {corpus: _corpus_entry(request)}
    config = catalogs(request.compute, **sections)
    config = _with_plugin(config, "methods", request.method, request.params, "--param ")
    if request.allocator_params:
        config = _with_plugin(config, "allocators", request.allocator, request.allocator_params, "--allocator-param ")
    axes = {
        "model": name,
        "method": OWN,
        "allocator": OWN if request.allocator_params else request.allocator,
        "pattern": request.pattern,
        "calibration": f"{corpus}_{samples}x{seqlen}",
        "seed": request.seed,
    }
    cell = _cell(config, axes if request.sparsity is None else {**axes, "sparsity": request.sparsity})
    if cell.calibrated and (reason := unfit(config, corpus, "evaluation", "calibration")):
        raise PrunebenchError(f"--corpus: {reason}")
    if given is not None:
        check_ids(given, model_shape(config.models[name]).vocabulary, request.tokens)
    if search := search_used(config, cell):
        raise PrunebenchError(
            f"--allocator: {request.allocator} uses what the search {search.name!r} finds, which is a study's affair: "
            "name what it has found with --allocator-param"
        )
    plan = with_tokens(plan_without_study(config), request.tokens) if request.tokens else plan_without_study(config)
    return Work(plan, cell, request.tokens, own_text=bool(request.text), bos=request.bos)


def catalogs(compute: Compute, **sections: Mapping[str, Any]) -> Config:
    """The catalogs of the project, and the entries of `sections`. Raises PrunebenchError for mistakes in them."""
    try:
        settings = ComputeEntry.model_validate(compute.entry)
    except ValidationError as error:
        lines = error_lines(error, ComputeEntry, compute.entry, prefix="--")
        raise PrunebenchError("\n".join(line.replace("batch_size", "batch-size") for line in lines)) from None
    return load_config({"compute": settings.model_dump(), **sections}, "command line", CATALOG)


def plan_without_study(config: Config) -> Plan:
    """A plan for the jobs of one model."""
    return Plan({}, "command line", config, {})


def with_tokens(plan: Plan, tokens: Path) -> Plan:
    """`plan` where calibration tokens are the file `tokens`: its content stands for what would have drawn it."""
    return replace(plan, given={"calibrate": canonical({"sha256": sha256_file(tokens)})})


def _with_plugin(config: Config, kind: str, name: str, params: Mapping[str, Any], option: str) -> Config:
    """`config` with an entry OWN for the plug-in `name`; PrunebenchError if `params`, options `option`, do not fit."""
    fields = _entry(kind, name, params)
    fields.pop("compute", None)  # how a method computes is said by the request
    entry = CATALOGS[kind].model_validate(fields)
    if mistakes := plugin_mistakes(config, kind, entry, f"--{SINGULAR[kind]}: ", option):
        raise PrunebenchError("\n".join(mistakes))
    return config.model_copy(update={kind: {**getattr(config, kind), OWN: entry}})


def _cell(config: Config, axes: Mapping[str, Any]) -> Cell:
    """The cell with these axes, in normal form; PrunebenchError if a plug-in does not do it."""
    try:
        row = Row.model_validate(axes)
    except ValidationError as error:
        raise PrunebenchError("\n".join(error_lines(error, Row, dict(axes), prefix="--"))) from None
    (cell,) = product(config, row, row, "--")
    check_divides(config, cell, "--")
    if not (support := supports(config, cell)).ok:
        raise PrunebenchError(support.reason)
    return normal_form(config, cell)


def model_entry(model: str) -> tuple[str, dict[str, Any]]:
    """(catalog name, entries to add to the catalog) of a model directory or a catalog name."""
    directory = Path(model)
    if directory.is_dir():
        name = slug(title_of(directory))
        return name, {name: directory_entry(directory)}
    if model in catalog("models"):
        return model, {}
    hint = registry.did_you_mean(model, catalog("models"))
    raise PrunebenchError(f"{model!r} is neither a directory nor a model of the catalog{hint}")


def feed_forward(model: str) -> FeedForward:
    """What the FFN of a model directory, or of a model of the catalog, looks like."""
    name, entries = model_entry(model)
    ffn: FeedForward = registry.load("models", (entries or catalog("models"))[name]["family"]).ffn
    return ffn


def method_named(name: str) -> Method:
    """A method of the catalog, or one without an entry, as it is when nothing else is said."""
    entry = _entry("methods", name, {})
    plugin = registry.load("methods", entry["method"])
    method: Method = plugin(plugin.configure(entry.get("preset", "paper"), entry["params"]))
    return method


def slug(text: str) -> str:
    """`text` in the letters that catalog names may have."""
    return re.sub(r"[^a-z0-9_.]", "_", text.lower()).lstrip("_.") or "model"


def directory_entry(directory: Path) -> dict[str, Any]:
    """A catalog entry for a `from_pretrained` directory, whose weights keep the dtype that they are stored in.

    Raises PrunebenchError if no family reads it, or what it holds cannot be pruned (see `layout.read_layout`).
    """
    return {
        "title": title_of(directory),
        "family": read_layout(directory).family.name,
        "source": {"kind": "path", "path": str(directory.resolve())},
        "dtype": STORED,
    }


def catalog(kind: str) -> dict[str, Any]:
    """A catalog of the project as it is written; empty if there is none."""
    import yaml

    path = CATALOG / f"{kind}.yaml"
    return (path.exists() and yaml.safe_load(path.read_text(encoding="utf-8"))) or {}


def parse_params(texts: list[str], option: str = "--param") -> dict[str, Any]:
    """{"damping": 0.1} for ["damping=0.1"]; values are read as JSON, or as text if they are not JSON."""
    params: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise PrunebenchError(f"{option} {text}: write it as NAME=VALUE")
        try:
            params[key] = json.loads(value)
        except ValueError:
            params[key] = value
    return params


def check_amount(pattern: str, sparsity: float | str | None) -> None:
    """PrunebenchError unless pattern and sparsity say how many weights go."""
    try:
        structured = parse_pattern(pattern).structured
        if sparsity is not None:
            sparsity_text(sparsity)
    except ValueError as error:
        raise PrunebenchError(str(error)) from None
    if sparsity is None and not structured:
        raise PrunebenchError("say how sparse: --sparsity 0.6, or --pattern 2of4")


def _corpus(request: Request) -> str:
    """What the calibration text is called among corpora: a text of the user's by its file, apart from the catalog's."""
    if not request.text:
        return GIVEN if request.tokens else request.corpus
    name = slug(request.text.absolute().name)[:LONGEST_NAME]
    return f"own_{name}" if name in catalog("corpora") else name


def _corpus_entry(request: Request) -> dict[str, Any]:
    """A catalog entry for the calibration text of the user's, or for the token file, which is never read as text."""
    path = request.text or request.tokens
    assert path is not None
    if request.text:
        text_files(path)  # Where there is none, that is said before anything is fetched.
    entry = {
        "title": path.absolute().name,
        "source": {"kind": "path", "path": str(path.absolute())},
        "use": "calibration",
    }
    return {**entry, "documents": "auto", **({} if request.column is None else {"column": request.column})}


def _entry(kind: str, name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The catalog entry of a plug-in, or of one without an entry, with `params` on top of its own."""
    entry = catalog(kind).get(name, {})
    return {kind.removesuffix("s"): name, **entry, "params": {**entry.get("params", {}), **params}}


def _check_names(request: Request) -> None:
    for option, kind, name in (("method", "methods", request.method), ("allocator", "allocators", request.allocator)):
        if name not in registry.names(kind) and name not in catalog(kind):
            known = (*registry.ready(kind), *catalog(kind))
            raise PrunebenchError(f"--{option}: unknown {option} {name!r}{registry.did_you_mean(name, known)}")
    if not (request.tokens or request.text) and request.corpus not in catalog("corpora"):
        hint = registry.did_you_mean(request.corpus, catalog("corpora"))
        raise PrunebenchError(f"--corpus: unknown corpus {request.corpus!r}{hint}")
    uses = registry.load("methods", _entry("methods", request.method, {})["method"]).uses
    if "sparsity" in uses:
        check_amount(request.pattern, request.sparsity)
    elif request.sparsity is not None:
        raise PrunebenchError(f"--sparsity: method {request.method!r} takes no sparsity, leave it out")
