"""What a user asks for one model, as a plan of one cell: so that the DAG's own checks and specs apply."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prunebench import registry
from prunebench.assets.texts import text_files
from prunebench.assets.titles import title_of
from prunebench.assets.tokens import check_ids, load_ids
from prunebench.cell import Cell
from prunebench.config.entries import STORED
from prunebench.config.schema import Config
from prunebench.engine.contract import Method
from prunebench.errors import PrunebenchError
from prunebench.identity.canonical import canonical
from prunebench.models.base import FeedForward
from prunebench.patterns import parse_pattern, sparsity_text
from prunebench.plan.grid import model_shape, search_used
from prunebench.plan.plan import load_plan
from prunebench.plan.specs import Specs
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

_STUDY = "one"
_FILE = "command line"


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

    config: Config
    cell: Cell
    specs: Specs
    tokens: Path | None
    """Given by the user; otherwise they are drawn."""
    own_text: bool = False
    """Whether they are drawn from text of the user's."""
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
    row: dict[str, Any] = {
        "model": name,
        "method": _STUDY,
        "allocator": _STUDY if request.allocator_params else request.allocator,
        "pattern": request.pattern,
        "calibration": f"{corpus}_{samples}x{seqlen}",
        "seed": request.seed,
    }
    if request.sparsity is not None:
        row["sparsity"] = request.sparsity
    _check_names(request)
    raw: dict[str, Any] = {
        "studies": {_STUDY: {"suites": "ppl", "grid": [row]}},
        "compute": request.compute.entry,
        "models": entries,
        "methods": {_STUDY: _method(request)},
    }
    if request.allocator_params:
        raw["allocators"] = {_STUDY: _entry("allocators", request.allocator, request.allocator_params)}
    if request.tokens or request.text:
        raw["corpora"] = {corpus: _corpus_entry(request)}
    try:
        plan = load_plan(raw, _FILE, CATALOG)
    except PrunebenchError as error:
        raise PrunebenchError(_as_options(str(error))) from None
    if given is not None:
        check_ids(given, model_shape(plan.config.models[name]).vocabulary, request.tokens)
    expansion = plan.studies[_STUDY]
    if expansion.skipped:
        raise PrunebenchError(expansion.skipped[0][1])
    (cell,) = expansion.cells
    if search := search_used(plan.config, cell):
        raise PrunebenchError(
            f"--allocator: {request.allocator} uses what the search {search.name!r} finds, which is a study's affair: "
            "name what it has found with --allocator-param"
        )
    specs = GivenTokens(plan.config, request.tokens) if request.tokens else plan.specs
    return Work(plan.config, cell, specs, request.tokens, own_text=bool(request.text), bos=request.bos)


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


class GivenTokens(Specs):
    """Specs of a cell whose calibration tokens are a file: its content stands for what would have drawn it."""

    def __init__(self, config: Config, tokens: Path) -> None:
        self._digest = sha256_file(tokens)
        super().__init__(config)

    def tokens(self, model: str, calibration: str, seed: int) -> str:
        """The digest of the file."""
        return canonical({"sha256": self._digest})


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


def _method(request: Request) -> dict[str, Any]:
    # How it computes is said by the request.
    entry = _entry("methods", request.method, request.params)
    return {key: value for key, value in entry.items() if key != "compute"}


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
    uses = registry.load("methods", _method(request)["method"]).uses
    if "sparsity" in uses:
        check_amount(request.pattern, request.sparsity)
    elif request.sparsity is not None:
        raise PrunebenchError(f"--sparsity: method {request.method!r} takes no sparsity, leave it out")


def _as_options(text: str) -> str:
    """Mistakes in the config that a request becomes, in terms of the options that it came from."""
    text = re.sub(rf"^{_FILE}: ", "", text, flags=re.MULTILINE)
    text = re.sub(rf"\bmethods\.{_STUDY}\.params\.", "--param ", text)
    text = re.sub(rf"\bmethods\.{_STUDY}\b", "--method", text)
    text = re.sub(rf"\ballocators\.{_STUDY}\.params\.", "--allocator-param ", text)
    text = re.sub(rf"\ballocators\.{_STUDY}\b", "--allocator", text)
    text = re.sub(r"\bcompute\.(\w+)", lambda match: f"--{match[1].replace('_', '-')}", text)
    return re.sub(rf"\bstudies\.{_STUDY}\.grid\[0\]\.(\w+)(\[0\])?", r"--\1", text)
