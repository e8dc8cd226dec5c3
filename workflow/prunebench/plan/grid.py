"""Expands the grid of a study into cells, the points of the benchmark, and gives cells their normal form."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from prunebench import registry
from prunebench.assets.manifest import read_shape
from prunebench.assets.sources import local_path
from prunebench.cell import NO_CALIBRATION, Cell
from prunebench.config.entries import ModelEntry, Shape
from prunebench.config.schema import Axes, Config, calibration_parts, configured
from prunebench.config.sources import GeneratedSource, TrainedSource
from prunebench.errors import PrunebenchError
from prunebench.patterns import parse_pattern
from prunebench.plan.texts import most_tokens, tokens_of_text
from prunebench.plugin import Search, Support
from prunebench.suites.base import Suite
from prunebench.suites.perplexity import Perplexity


@dataclass(frozen=True)
class Expansion:
    """The cells of a study, and the cells that are skipped because a plug-in cannot do them."""

    cells: tuple[Cell, ...]
    skipped: tuple[tuple[Cell, str], ...]
    """Cells with the reason why each is skipped."""
    suites: Mapping[Cell, tuple[str, ...]]
    """The suites that evaluate each cell."""

    @cached_property
    def all_suites(self) -> tuple[str, ...]:
        """The suites of all cells, in the order of their first appearance."""
        return tuple(dict.fromkeys(itertools.chain.from_iterable(self.suites.values())))


def expand_grid(config: Config, name: str, file: str = "config/config.yaml") -> Expansion:
    """The distinct cells of study `name`, in the order of its grid.

    Raises PrunebenchError where the grid has no meaning, as for an n:m pattern whose groups do not divide a width, and
    for a row of `exclude` that matches no cell.
    """
    study = config.studies[name]
    idle = set(range(len(study.exclude)))
    supported: dict[Cell, None] = {}
    skipped: dict[Cell, str] = {}
    suites: dict[Cell, dict[str, None]] = {}
    fitting: set[tuple[str, str]] = set()
    read: set[tuple[object, str, str]] = set()
    for index, row in enumerate(study.grid):
        where = f"{file}: studies.{name}.grid[{index}]."
        for point in product(config, row, study.defaults, where):
            matching = [number for number, rule in enumerate(study.exclude) if _matches(point, rule)]
            if matching:
                idle.difference_update(matching)
                continue
            support = supports(config, point)
            if (point.model, point.pattern) not in fitting:
                check_divides(config, point, where)
                fitting.add((point.model, point.pattern))
            cell = normal_form(config, point)
            asked = row.suites or study.suites
            for check, text in ((unreadable, cell.calibration), *((unreadable_suite, suite) for suite in asked)):
                if (check, cell.model, text) not in read and (mistake := check(config, cell.model, text)):
                    raise PrunebenchError(f"{where}{mistake}")
                read.add((check, cell.model, text))
            # A cell of several rows is evaluated on the suites of all of them.
            suites.setdefault(cell, {}).update(dict.fromkeys(asked))
            if support.ok:
                supported[cell] = None
            else:
                skipped[cell] = support.reason
    if idle:
        raise PrunebenchError(f"{file}: studies.{name}.exclude[{min(idle)}]: no cell matches: correct it, or delete it")
    if not supported and not skipped:
        raise PrunebenchError(f"{file}: studies.{name}: no cells are left: 'exclude' matches all of them")
    return Expansion(tuple(supported), tuple(skipped.items()), {cell: tuple(suites[cell]) for cell in suites})


def check_number(config: Config, file: str) -> None:
    """Raise PrunebenchError if the studies have more cells than the config allows, before any cell is made."""
    number = 0
    for name, study in config.studies.items():
        for index, row in enumerate(study.grid):
            axes = (getattr(row, axis) or getattr(study.defaults, axis) or [None] for axis in Axes.model_fields)
            number += math.prod(len(set(values)) for values in axes)
            if number > config.max_cells:
                raise PrunebenchError(
                    f"{file}: studies.{name}.grid[{index}]: with this row the studies have up to {number:,} cells, "
                    f"more than {config.max_cells:,}: shorten the lists of this row, or raise 'max_cells' in the config"
                )


def unreadable_suite(config: Config, model: str, suite: str) -> str | None:
    """The reason why `model` cannot read the windows or the images of `suite`, or a text is too short for the windows.

    None if it can, or may.
    """
    sees = registry.load("suites", config.suites[suite].suite).sees
    if sees and not registry.load("models", config.models[model].family).text_types:
        return f"suites: {suite} asks about images, which {model} does not see"
    plugin = configured("suites", config.suites[suite])
    reason = too_long(config, model, plugin.longest) or _too_many_windows(config, plugin)
    return reason and f"suites: {suite} {reason}"


def _too_many_windows(config: Config, suite: Suite) -> str | None:
    """The reason why a corpus has too little text for the windows of a suite of perplexities; None if it may do."""
    params = suite.params
    if not isinstance(params, Perplexity.Params):
        return None
    needed = tokens_of_text(params.windows or 1, params.seqlen, params.bos)
    for corpus in params.corpora:
        most = most_tokens(config.corpora[corpus], params.split)
        if most is not None and needed >= most:
            return (
                f"needs {needed:,} tokens, but the {params.split} split of {corpus} has fewer than {most:,}: take "
                "fewer or shorter windows, or name a larger text"
            )
    return None


def unreadable(config: Config, model: str, calibration: str) -> str | None:
    """The reason why `model` cannot read a calibration set, or its text is too short; None if it can, or may."""
    if calibration == NO_CALIBRATION:
        return None
    corpus, samples, seqlen = calibration_parts(calibration)
    source = config.corpora[corpus].source
    if config.pairs_of(calibration) and not registry.load("models", config.models[model].family).paired:
        return f"calibration: {calibration} has images, which {model} does not see as tokens beside others: take text"
    # A BOS token, which the tokenizer may ask for, and a token that the model writes come on top.
    if isinstance(source, GeneratedSource) and source.prompts and source.prompt_tokens + 2 > seqlen:
        return (
            f"calibration: {calibration} leaves the model nothing to write, because prompts take "
            f"{source.prompt_tokens} tokens of a window: take longer windows, or lower 'prompt_tokens'"
        )
    text = config.text_of(calibration)
    if text is None:
        reason = too_long(config, model, seqlen)
        return reason and f"calibration: {calibration} {reason}"
    entry = config.corpora[text]
    most = most_tokens(entry, "calibration")
    windows = 1 if entry.calibration == "documents" else samples  # a document may be drawn again
    needed = tokens_of_text(windows, seqlen, entry.calibration_bos)
    if most is not None and needed >= most:
        return (
            f"calibration: {calibration} needs {needed:,} tokens, but the text has fewer than {most:,} for "
            "calibration: take fewer or shorter windows, or name a larger text"
        )
    reason = too_long(config, model, seqlen)
    return reason and f"calibration: {calibration} {reason}"


def too_long(config: Config, model: str, seqlen: int) -> str | None:
    """The reason why `model` cannot read windows of `seqlen` tokens; None if it can, or may."""
    entry = config.models[model]
    context = entry.source.context if isinstance(entry.source, TrainedSource) else model_shape(entry).context
    if context is None or seqlen <= context:
        return None
    return f"has windows of {seqlen} tokens, but {model} reads at most {context}: take shorter ones"


def axes_used(config: Config, method: str, allocator: str) -> frozenset[str]:
    """The axes of a cell that can change the result of `method` with `allocator` (both catalog names)."""
    uses: frozenset[str] = registry.load("methods", config.methods[method].method).uses
    if "allocator" not in uses:
        return uses
    allocated: frozenset[str] = registry.load("allocators", config.allocators[allocator].allocator).uses
    return uses | allocated


def normal_form(config: Config, cell: Cell) -> Cell:
    """`cell` with a fixed value on every axis that cannot change its result, so that equal work has one name."""
    uses = axes_used(config, cell.method, cell.allocator)
    if "pattern" not in uses:
        cell = replace(cell, pattern="unstructured", sparsity="0.00")
    if "allocator" not in uses:
        cell = replace(cell, allocator="uniform")
    return _fix_draw(cell, uses)


def allocation_form(config: Config, cell: Cell) -> Cell:
    """The point of the allocation that `cell` uses, which all methods share.

    The axes that cannot change the allocation have fixed values, and `method` is empty.
    """
    uses = registry.load("allocators", config.allocators[cell.allocator].allocator).uses
    return _fix_draw(replace(cell, method=""), uses)


def method_of(config: Config, cell: Cell) -> Any:
    """The method that `cell` names, with its parameters."""
    return configured("methods", config.methods[cell.method])


def allocator_of(config: Config, cell: Cell) -> Any:
    """The allocator that `cell` names, with its parameters."""
    return configured("allocators", config.allocators[cell.allocator])


def runs_model(config: Config, point: Cell) -> bool:
    """Whether the allocator of `point` runs the model on the calibration tokens."""
    allocator = registry.load("allocators", config.allocators[point.allocator].allocator)
    return bool(allocator.runs_model)


def reads_profile(config: Config, point: Cell) -> bool:
    """Whether the allocation of `point` (in `allocation_form`) is made from the profile of the model."""
    return point.calibrated and not runs_model(config, point)


def search_used(config: Config, point: Cell) -> Search | None:
    """The search whose result the allocator of `point` uses; None if it uses no search."""
    search: Search | None = allocator_of(config, point).search(point.sparsity)
    return search


def _fix_draw(cell: Cell, uses: frozenset[str]) -> Cell:
    return replace(
        cell,
        calibration=cell.calibration if "calibration" in uses else NO_CALIBRATION,
        seed=cell.seed if "seed" in uses else 0,
    )


def supports(config: Config, cell: Cell) -> Support:
    """Whether the plug-ins can do `cell`. With an n:m pattern an allocator has nothing to decide."""
    method = method_of(config, cell)
    allocator = allocator_of(config, cell)
    if "allocator" in method.uses:
        if cell.shape.structured and not allocator.structured:
            return Support(
                False, f"{cell.pattern} fixes the sparsity of every linear, {cell.allocator} has nothing to decide"
            )
        if allocator.searches and not allocator.search(cell.sparsity):
            return Support(
                False, f"{cell.allocator} has no search for a sparsity of {cell.sparsity}: add one to its entry"
            )
    if cell.calibrated and (pairs := config.pairs_of(cell.calibration)):
        if method.needs_gradients:
            return Support(False, f"{method.name} reads gradients of text, and {cell.calibration} has images")
        in_sums = method.reads_sums or "calibration" not in method.uses
        allocated = "allocator" in method.uses and allocator.runs_model
        if pairs.text_only and (allocated or not in_sums):
            name = cell.allocator if in_sums else method.name
            return Support(
                False, f"{name} looks at each token, and {cell.calibration} counts the text alone: count all tokens"
            )
    family = registry.load("models", config.models[cell.model].family)
    reading: Support = method.reads(family.ffn)
    support: Support = method.supports(cell)
    return support if reading.ok else reading


def model_shape(entry: ModelEntry) -> Shape:
    """The sizes of a model, from its entry or else from the config.json of a local model.

    Raises PrunebenchError if that file cannot be read.
    """
    if entry.shape is not None:
        return entry.shape
    return read_shape(local_path(entry.source) / "config.json")


def product(config: Config, row: Axes, defaults: Axes, where: str) -> Iterator[Cell]:
    """Every combination of the axes of `row`, or else of `defaults`. The cells are not in normal form yet.

    Raises PrunebenchError for axes that are missing or do not fit together; the message begins with `where`.
    """

    def axis(key: str, default: Any = None) -> list[Any]:
        for values in (getattr(row, key), getattr(defaults, key), default):
            if values is not None:
                return list(values)
        raise PrunebenchError(f"{where.rstrip('.')}: {key!r} is missing (here or under 'defaults')")

    for model, method, allocator, pattern, seed in itertools.product(
        axis("model"),
        axis("method"),
        axis("allocator", ["uniform"]),
        axis("pattern", ["unstructured"]),
        axis("seed", [0]),
    ):
        uses = axes_used(config, method, allocator)
        shape = parse_pattern(pattern)
        if "pattern" not in uses:
            sparsities = ["0.00"]
        elif shape.structured:
            sparsities = [f"{float(shape.sparsity):.2f}"]
            if row.sparsity is not None and sparsities[0] not in row.sparsity:
                stated = ", ".join(row.sparsity)
                raise PrunebenchError(f"{where}sparsity: {pattern} fixes the sparsity at {sparsities[0]}, not {stated}")
        else:
            sparsities = axis("sparsity")
        calibrations = axis("calibration") if "calibration" in uses else [NO_CALIBRATION]
        for sparsity, calibration in itertools.product(sparsities, calibrations):
            yield Cell(model, method, allocator, pattern, sparsity, calibration, seed)


def _matches(cell: Cell, rule: Axes) -> bool:
    """Whether every axis that `rule` names has the value of `cell` among its values."""
    return all(getattr(cell, key) in values for key in Axes.model_fields if (values := getattr(rule, key)) is not None)


def check_divides(config: Config, cell: Cell, where: str) -> None:
    """Raise PrunebenchError if the groups of an n:m pattern do not divide the widths of the model."""
    pattern = cell.shape
    if not pattern.structured:
        return
    shape = model_shape(config.models[cell.model])
    for side in ("hidden", "attention", "ffn"):
        width = getattr(shape, side)
        if width % pattern.group:
            raise PrunebenchError(
                f"{where}pattern: {pattern} does not fit {cell.model}: groups of {pattern.group} "
                f"do not divide its {side} width {width}"
            )
