"""Turns what a user asks for one model into a cell and a plan, so that the checks and jobs of the DAG apply to it."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prunebench import registry
from prunebench.assets.texts import text_files
from prunebench.assets.titles import title_of
from prunebench.assets.tokens import check_ids, load_ids
from prunebench.cell import Cell
from prunebench.config.explain import error_lines
from prunebench.config.packaged import layers
from prunebench.config.reading import read_yaml
from prunebench.config.schema import CATALOG, CATALOGS, SINGULAR, Config, Row
from prunebench.config.values import LARGEST_COUNT, STORED, Compute
from prunebench.engine.contract import Method
from prunebench.errors import PrunebenchError
from prunebench.estimate.devices import this_machine
from prunebench.identity.canonical import canonical
from prunebench.models.base import FeedForward
from prunebench.names import slug
from prunebench.patterns import parse_pattern, sparsity_text
from prunebench.plan.checks import load_config, plugin_mistakes, unfit
from prunebench.plan.grid import check_divides, model_shape, normal_form, product, search_used, supports
from prunebench.plan.plan import Plan
from prunebench.runtime import instructions
from prunebench.runtime.cgroups import cpu_limit, visible_cpus
from prunebench.storage.files import sha256_file
from prunebench.storage.layout import CONFIG, family_of, read_config, read_layout

log = logging.getLogger("prunebench")
GIVEN = "given"
"""The name that a user's token file has among the corpora."""
LONGEST_NAME = 100
"""The largest number of letters of a name that becomes part of a path."""
_HUB_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*(?:@[A-Za-z0-9_][A-Za-z0-9_./-]*)?")
"""The form owner/name or owner/name@revision of a model on the hub."""
_PATH = re.compile(r"/|~|\.\.?(/|$)")
"""The beginning of a path, which no name of the catalog or on a hub has."""
OWN = "one"
"""The catalog name of a request's method, and of its allocator if the request gives it parameters."""


def cores() -> int:
    """Return the number of CPUs that this process may use."""
    seen = visible_cpus()
    return max(1, min(seen, int(cpu_limit() or seen)))


def usual_threads() -> int:
    """Return the number of CPUs, or a smaller number that OMP_NUM_THREADS asks for."""
    most, asked = cores(), os.environ.get("OMP_NUM_THREADS", "").strip()
    return next((number for number in range(1, most) if str(number) == asked), most)


def compute_settings(dtype: str = "bfloat16", batch_size: int = 8, threads: int | None = None) -> Compute:
    """Return the settings of forward passes, with the usual threads unless `threads` is given.

    Raises PrunebenchError for a number beyond its bounds.
    """
    settings = {"dtype": dtype, "batch_size": batch_size, "threads": threads or usual_threads()}
    try:
        return Compute.model_validate(settings)
    except ValidationError as error:
        raise PrunebenchError("\n".join(error_lines(error, Compute, settings, prefix="--")).replace("_", "-")) from None


@cache
def tell_of_slow_dtype(dtype: str) -> None:
    """Say once that another dtype is fast on the CPU of this machine, if `dtype` is slow there."""
    if dtype == "float16" and this_machine().memory is None and instructions.for_bfloat16():
        log.info("float16 is slow on this CPU, and bfloat16, the default, is several times as fast")


@dataclass(frozen=True)
class Request:
    """A user's wish to have one model pruned. `model` is a directory, a name of the catalog, or an id on the hub."""

    model: str
    method: str | None
    """None leaves the choice to our own table (see standalone/prepare.py)."""
    sparsity: float | str | None = None
    pattern: str = "unstructured"
    allocator: str | None = None
    """None means uniform, or what goes with the method that our table names."""
    params: Mapping[str, Any] = field(default_factory=dict)
    allocator_params: Mapping[str, Any] = field(default_factory=dict)
    tokens: Path | None = None
    """An .npy file of token ids, int64 [samples, seqlen]. Without it, `seed` draws windows from `text` or `corpus`."""
    text: Path | None = None
    """A file or directory of calibration text."""
    column: str | None = None
    """The key or column of `text` that holds the text. None means "text"."""
    bos: bool | None = None
    """Whether each drawn window begins with a BOS token. None leaves this to the model's tokenizer."""
    corpus: str = "c4_type"
    samples: int = 128
    seqlen: int = 512
    seed: int = 0
    compute: Compute = field(default_factory=compute_settings)
    stored: bool = True
    """Whether the weights are on disk. Those of a model in memory are saved when all checks are done."""


@dataclass(frozen=True)
class Work:
    """A plan and a cell that do what a request asks for."""

    plan: Plan
    """A plan without studies, from the catalogs and the request's own entries."""
    cell: Cell
    tokens: Path | None
    """The user's file of token ids; None if tokens are drawn."""
    own_text: bool = False
    """Whether tokens are drawn from the user's own text."""
    bos: bool | None = None
    """The `bos` of the request."""


def work(request: Request) -> Work:
    """Make the plan and cell of `request`. Raises PrunebenchError, which names the wrong option, before any work."""
    method, allocator = request.method, request.allocator or "uniform"
    assert method is not None, "standalone/prepare.py chooses one"
    name, entries = model_entry(request.model, stored=request.stored)
    if request.tokens and request.bos is not None:
        raise PrunebenchError("--bos: the windows of token ids are taken as they are; leave it out")
    if request.column is not None and not request.text:
        raise PrunebenchError("--column belongs to a text of one's own, with --calibration: leave it out")
    given = load_ids(request.tokens) if request.tokens else None
    samples, seqlen = (request.samples, request.seqlen) if given is None else given.shape
    if seqlen < 2:
        raise PrunebenchError("--seqlen: a window of one token has no token to predict: take at least 2")
    if samples > LARGEST_COUNT:
        raise PrunebenchError(f"--samples: at most {LARGEST_COUNT:,} windows can be drawn")
    corpus = _corpus(request)
    _check_names(request, method, allocator)
    sections: dict[str, Any] = {"models": entries}
    if request.tokens or request.text:
        sections["corpora"] = {corpus: _corpus_entry(request)}
    plan = plan_without_study(request.compute, **sections)
    config = _with_plugin(plan.config, "methods", method, request.params, "--param ")
    if request.allocator_params:
        config = _with_plugin(config, "allocators", allocator, request.allocator_params, "--allocator-param ")
    axes = {
        "model": name,
        "method": OWN,
        "allocator": OWN if request.allocator_params else allocator,
        "pattern": request.pattern,
        "calibration": f"{corpus}_{samples}x{seqlen}",
        "seed": request.seed,
    }
    cell = _cell(config, axes if request.sparsity is None else {**axes, "sparsity": request.sparsity})
    if cell.calibrated and (reason := unfit(config, corpus, "evaluation", "calibration")):
        raise PrunebenchError(f"--corpus: {reason}")
    if cell.calibrated and request.bos is not None and config.pairs_of(cell.calibration):
        raise PrunebenchError(f"--bos: images with text ({corpus}) have the prompts of the model; leave it out")
    if given is not None:
        check_ids(given, model_shape(config.models[name]).vocabulary, request.tokens)
    if search := search_used(config, cell):
        raise PrunebenchError(
            f"--allocator: {allocator} uses the result of the search {search.name!r}, which only a study runs: "
            "name its result with --allocator-param"
        )
    plan = replace(plan, config=config)
    plan = with_tokens(plan, request.tokens) if request.tokens else plan
    return Work(plan, cell, request.tokens, own_text=bool(request.text), bos=request.bos)


def plan_without_study(compute: Compute, **sections: Mapping[str, Any]) -> Plan:
    """Make a plan for the jobs of one model from the project's catalogs and the entries in `sections`.

    Raises PrunebenchError for mistakes in the entries.
    """
    raw = {"compute": compute.model_dump(), **sections}
    return Plan({}, "command line", load_config(raw, "command line", CATALOG), {})


def with_tokens(plan: Plan, tokens: Path) -> Plan:
    """Return `plan` with the calibration tokens of the file `tokens`; the specs contain the digest of that file."""
    return replace(plan, given={"calibrate": canonical({"sha256": sha256_file(tokens)})})


def _with_plugin(config: Config, kind: str, name: str, params: Mapping[str, Any], option: str) -> Config:
    """Return `config` with the added entry OWN, which is the plug-in or entry `name` with `params`.

    Raises PrunebenchError for wrong parameters; the message begins with `option`.
    """
    fields = _entry(kind, name, params)
    fields.pop("compute", None)  # the request has compute settings of its own
    entry = CATALOGS[kind].model_validate(fields)
    if mistakes := plugin_mistakes(config, kind, entry, f"--{SINGULAR[kind]}: ", option):
        raise PrunebenchError("\n".join(mistakes))
    return config.model_copy(update={kind: {**getattr(config, kind), OWN: entry}})


def _cell(config: Config, axes: Mapping[str, Any]) -> Cell:
    """Make the cell of `axes`, in normal form. Raises PrunebenchError for wrong axes, or if a plug-in cannot do it."""
    try:
        row = Row.model_validate(axes)
    except ValidationError as error:
        raise PrunebenchError("\n".join(error_lines(error, Row, dict(axes), prefix="--"))) from None
    (cell,) = product(config, row, row, "--")
    check_divides(config, cell, "--")
    if not (support := supports(config, cell)).ok:
        raise PrunebenchError(support.reason)
    return normal_form(config, cell)


def model_entry(model: str, *, stored: bool = True) -> tuple[str, dict[str, Any]]:
    """Return (catalog name, entries to add to the catalog) for a directory, a catalog name, or an id on the hub.

    The directory of a model that is not `stored` yet has no weights.

    Raises PrunebenchError if `model` is none of these, and for an id that the hub does not serve.
    """
    directory = Path(model)
    if directory.is_dir():
        _tell_of_directory(model)
        name = slug(title_of(directory))
        return name, {name: directory_entry(directory, stored=stored)}
    if model in stored_entries("models"):
        return model, {}
    if _HUB_ID.fullmatch(model):
        entry = _hub_entry(model)
        name = slug(entry["source"]["repo"])
        return name, {name: entry}
    near = _neighbour(directory)
    if _PATH.match(model):
        problem = "is a file and no directory" if directory.is_file() else "there is no such directory"
        advice = f"did you mean {near!r}?" if near else "name one that from_pretrained can load"
        raise PrunebenchError(f"{model}: {problem}: {advice}")
    hint = f": did you mean {near!r}?" if near else registry.did_you_mean(model, stored_entries("models"))
    raise PrunebenchError(f"{model!r} is neither a directory nor a model of the catalog, nor owner/name on a hub{hint}")


def _neighbour(directory: Path) -> str | None:
    """Return the model directory beside the absent `directory` whose name is nearly equal; None without one."""
    try:
        models = [path.name for path in directory.parent.iterdir() if (path / CONFIG).is_file()]
    except OSError:
        return None
    near = registry.nearest(directory.name, models)
    return str(directory.with_name(near[0])) if near else None


@cache
def _tell_of_directory(model: str) -> None:
    """Say once that a directory is used, if its path could also be an id on the hub."""
    if _HUB_ID.fullmatch(model):
        log.info("%s is a directory here: it is used, and the hub is not asked for this name", model)


@cache  # a branch that moves during a command does not change the model between two steps
def _hub_entry(model: str) -> dict[str, Any]:
    """Make a catalog entry for `model`, owner/name on the hub with or without @revision, at its present commit."""
    from prunebench.assets.hub import described, pinned  # slow, and few commands need it

    repo, _, revision = model.partition("@")
    try:
        return described(pinned(repo, revision or "main"))
    except PrunebenchError as error:
        near = _neighbour(Path(model))
        hint = f" (did you mean {near!r}?)" if near else ""
        raise PrunebenchError(f"{model} is no directory here{hint}, and as an id on the hub: {error}") from None


def feed_forward(model: str, *, stored: bool = True) -> FeedForward:
    """Return the FFN layout of `model`, a directory or a catalog name. Raises PrunebenchError if it is neither."""
    name, entries = model_entry(model, stored=stored)
    ffn: FeedForward = registry.load("models", (entries or stored_entries("models"))[name]["family"]).ffn
    return ffn


def method_named(name: str) -> Method:
    """Return the method `name` (a catalog or plug-in name) with its default parameters."""
    entry = _entry("methods", name, {})
    plugin = registry.load("methods", entry["method"])
    method: Method = plugin(plugin.configure(entry.get("preset", "paper"), entry["params"]))
    return method


def directory_entry(directory: Path, *, stored: bool = True) -> dict[str, Any]:
    """Make a catalog entry for a `from_pretrained` directory. Its weights keep the dtype that they are stored in.

    Raises PrunebenchError if no family reads it or if its tensors cannot be pruned (see `layout.read_layout`).
    """
    family = read_layout(directory).family if stored else family_of(directory, read_config(directory))
    return {
        "title": title_of(directory),
        "family": family.name,
        "source": {"kind": "path", "path": str(directory.resolve())},
        "dtype": STORED,
    }


def stored_entries(kind: str) -> dict[str, Any]:
    """Read the entries in the catalogs of `kind` without checks: the package's, and the project's over them."""
    catalogs = [read_yaml(path) for path in layers(CATALOG / f"{kind}.yaml")]
    # load_config refuses a catalog that is no mapping.
    return {name: entry for entries in catalogs if isinstance(entries, dict) for name, entry in entries.items()}


def refuse_unknown(kind: str, name: str, *plugins: str) -> None:
    """Raise PrunebenchError unless `name` is in the catalog of `kind` or among `plugins`."""
    known = (*plugins, *stored_entries(kind))
    if name not in known:
        word = SINGULAR[kind]
        raise PrunebenchError(f"--{word}: unknown {word} {name!r}{registry.hint(kind, name, known)}")


def no_file(option: str, path: Path) -> PrunebenchError:
    """Make the error for an `option` that names a file of text which does not exist. A corpus has another option."""
    is_corpus = str(path) in stored_entries("corpora")
    corpus = f". {path} is a corpus of the catalog: name it with --corpus" if is_corpus else ""
    return PrunebenchError(f"{option}: no such file or directory: {path}{corpus}")


def parse_params(texts: list[str], option: str = "--param") -> dict[str, Any]:
    """Parse ["damping=0.1"] as {"damping": 0.1}. A value is read as JSON, or taken as text if it is not JSON.

    Raises PrunebenchError for a text without "=".
    """
    params: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise PrunebenchError(f"{option} {text}: write it as NAME=VALUE")
        try:
            params[key] = json.loads(value)
        except (ValueError, RecursionError):
            params[key] = value
    return params


def check_amount(pattern: str, sparsity: float | str | None) -> None:
    """Raise PrunebenchError unless pattern and sparsity say how many weights become zero."""
    try:
        structured = parse_pattern(pattern).structured
    except ValueError as error:
        raise PrunebenchError(f"--pattern: {error}") from None
    if sparsity is None and not structured:
        raise PrunebenchError("--sparsity is missing; say how sparse: --sparsity 0.6, or --pattern 2of4")
    try:
        if sparsity is not None:
            sparsity_text(sparsity)
    except ValueError as error:
        raise PrunebenchError(f"--sparsity: {error}") from None


def _corpus(request: Request) -> str:
    """Name the calibration text among the corpora. A user's text is named after its file, and like no catalog entry."""
    if not request.text:
        return GIVEN if request.tokens else request.corpus
    name = slug(request.text.absolute().name)[:LONGEST_NAME]
    return f"own_{name}" if name in stored_entries("corpora") else name


def _corpus_entry(request: Request) -> dict[str, Any]:
    """Make a catalog entry for the user's calibration text, or for the token file, which is never read as text."""
    path = request.text or request.tokens
    assert path is not None
    if request.text:
        text_files(path)  # A missing text is reported before anything is fetched.
    entry = {
        "title": path.absolute().name,
        "source": {"kind": "path", "path": str(path.absolute())},
        "use": "calibration",
    }
    return {**entry, "documents": "auto", **({} if request.column is None else {"column": request.column})}


def _entry(kind: str, name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the catalog entry `name`, or make one for the plug-in `name`; `params` replace its own parameters."""
    entry = stored_entries(kind).get(name, {})
    return {kind.removesuffix("s"): name, **entry, "params": {**entry.get("params", {}), **params}}


def _check_names(request: Request, method: str, allocator: str) -> None:
    """Raise PrunebenchError for unknown names, and for a sparsity that is missing or of no use."""
    for kind, name in (("methods", method), ("allocators", allocator)):
        if name not in registry.names(kind):
            refuse_unknown(kind, name, *registry.ready(kind))
    if not (request.tokens or request.text):
        refuse_unknown("corpora", request.corpus)
    uses = registry.load("methods", _entry("methods", method, {})["method"]).uses
    if "sparsity" in uses:
        check_amount(request.pattern, request.sparsity)
    elif request.sparsity is not None:
        raise PrunebenchError(f"--sparsity: method {method!r} takes no sparsity: leave it out")
