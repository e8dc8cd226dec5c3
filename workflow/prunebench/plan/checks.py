"""Finds mistakes in a config of the right form: unknown names, wrong parameters, files that do not exist.

`load_config` finds all of them before any job is planned.
"""

import glob
import re
from collections.abc import Collection, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prunebench import registry
from prunebench.allocators.base import Allocator
from prunebench.assets.sources import local_files, local_path
from prunebench.assets.tasks import local_row_files
from prunebench.config.explain import error_lines
from prunebench.config.schema import CATALOG, SINGULAR, Config, Study, calibration_corpus, configured, with_catalogs
from prunebench.config.sources import GeneratedSource, PairsSource, PathSource, TrainedSource
from prunebench.config.tasks import TasksEntry
from prunebench.errors import PrunebenchError
from prunebench.models.configs import check_family
from prunebench.names import unseen
from prunebench.plan.grid import too_long, unreadable
from prunebench.plugin import Parameters, Search
from prunebench.published.values import load_values
from prunebench.storage.files import read_object
from prunebench.suites.metrics import metric

_SPECIAL = re.compile("[{}<>]")


def load_config(raw: dict[str, Any], file: str = "config/config.yaml", catalog: Path = CATALOG) -> Config:
    """Validate `raw` (the parsed config `file`), complete it with the catalogs, and check every name and parameter.

    Raises PrunebenchError, which lists all mistakes.
    """
    config, files = with_catalogs(raw, file, catalog)
    mistakes = [f"{file}: {mistake}" for mistake in _unknown_names(config)]
    mistakes += [f"{files[kind, name]}: {mistake}" for kind, name, mistake in _bad_entries(config)]
    mistakes = mistakes or [
        f"{file}: {mistake}" for mistake in (*_empty_tables(config), *_unknown_sources(config), *_leaks(config))
    ]
    # Only files that a study uses are checked: a catalog may name local models that another machine has.
    mistakes = mistakes or [f"{files[kind, name]}: {mistake}" for kind, name, mistake in _missing_files(config)]
    mistakes = mistakes or [f"{files['searches', name]}: {mistake}" for name, mistake in _unreadable_texts(config)]
    if mistakes:
        raise PrunebenchError("\n".join(mistakes))
    return config


def _unknown_names(config: Config) -> list[str]:
    """One line for each name that a study uses and no catalog defines."""
    mistakes = []
    for name, study in config.studies.items():
        rows = {"defaults": study.defaults}
        rows |= {f"grid[{i}]": row for i, row in enumerate(study.grid)}
        rows |= {f"exclude[{i}]": row for i, row in enumerate(study.exclude)}
        listed = {"suites": study.suites} | {f"grid[{i}].suites": row.suites or [] for i, row in enumerate(study.grid)}
        uses = [(f"{key}[{i}]", "suites", suite) for key, suites in listed.items() for i, suite in enumerate(suites)]
        uses += [(f"searches[{i}]", "searches", search) for i, search in enumerate(study.searches)]
        for where, row in rows.items():
            for axis, kind in (("model", "models"), ("method", "methods"), ("allocator", "allocators")):
                uses += [(f"{where}.{axis}", kind, value) for value in getattr(row, axis) or []]
            for value in row.calibration or []:
                uses.append((f"{where}.calibration", "corpora", calibration_corpus(value)))
        for where, kind, value in uses:
            known = getattr(config, kind)
            if value not in known:
                plugs_in = kind in ("methods", "allocators", "suites")
                hint = registry.hint(kind, value, known) if plugs_in else registry.did_you_mean(value, known)
                if plugs_in and value in registry.names(kind):
                    needs = ", ".join(registry.required(kind, value))
                    hint = f": it needs parameters ({needs}), so give it an entry of its own under {kind!r}"
                mistakes.append(f"studies.{name}.{where}: unknown {SINGULAR[kind]} {value!r}{hint}")
            elif kind == "corpora" and (reason := unfit(config, value, "evaluation", "calibration")):
                mistakes.append(f"studies.{name}.{where}: {reason}")
    return mistakes


def _bad_entries(config: Config) -> Iterator[tuple[str, str, str]]:
    """A tuple (kind, name, mistake) for each plug-in, preset, parameter, corpus or model that an entry gets wrong."""
    for kind in ("methods", "allocators", "suites"):
        for name, entry in getattr(config, kind).items():
            if name in registry.names(kind) and name != getattr(entry, SINGULAR[kind]):
                reason = f"{name!r} is the name of a plug-in, and this entry is of another: give it a name of its own"
                yield kind, name, f"{kind}.{name}.{SINGULAR[kind]}: {reason}"
            for mistake in plugin_mistakes(config, kind, entry, f"{kind}.{name}.", f"{kind}.{name}.params."):
                yield kind, name, mistake
    for name, model in config.models.items():
        known = registry.names("models")
        if model.family not in known:
            hint = registry.hint("models", model.family, known)
            yield "models", name, f"models.{name}.family: unknown family {model.family!r}{hint}"
        if isinstance(model.source, TrainedSource):
            needs = {"corpora": ("training", "training"), "unseen": ("evaluation", "calibration", "tuning", "test")}
            for key, need in needs.items():
                for reason in filter(None, (unfit(config, corpus, *need) for corpus in getattr(model.source, key))):
                    yield "models", name, f"models.{name}.source.{key}: {reason}"
    for name, text in config.corpora.items():
        if isinstance(text.source, GeneratedSource) and (problem := _unfit_prompts(config, text.source)):
            yield "corpora", name, f"corpora.{name}.source.prompts: {problem}"
        if isinstance(text.source, PairsSource) and (problem := _unfit_pairs(config, text.source)):
            yield "corpora", name, f"corpora.{name}.source.{problem}"
    for name, search in config.searches.items():
        if search.model not in config.models:
            hint = registry.did_you_mean(search.model, config.models)
            yield "searches", name, f"searches.{name}.model: unknown model {search.model!r}{hint}"
        corpora = {"corpus": (search.corpus, "tuning")}
        corpora["calibration"] = (calibration_corpus(search.calibration), "calibration")
        for key, (corpus, split) in corpora.items():
            if problem := unfit(config, corpus, "evaluation", split):
                yield "searches", name, f"searches.{name}.{key}: {problem}"


def _unfit_prompts(config: Config, source: GeneratedSource) -> str | None:
    """The reason why a generated text cannot begin with its prompts; None if it can, or has none."""
    if source.prompts is None:
        return None
    if (prompts := config.corpora.get(source.prompts)) and isinstance(prompts.source, GeneratedSource):
        return f"corpus {source.prompts!r} is itself text that each model writes: name one that can be fetched"
    return unfit(config, source.prompts, "evaluation", "calibration")


def _unfit_pairs(config: Config, source: PairsSource) -> str | None:
    """The key of `source` that is wrong and the reason, as KEY: REASON; None if there are such pairs."""
    bundle = config.tasks.get(source.tasks)
    if bundle is None:
        return f"tasks: unknown bundle of tasks {source.tasks!r}{registry.did_you_mean(source.tasks, config.tasks)}"
    if source.task not in bundle.tasks:
        hint = registry.did_you_mean(source.task, bundle.tasks)
        return f"task: {source.tasks} has no task {source.task!r}{hint}"
    sees = bundle.tasks[source.task].images is not None
    return None if sees else f"task: {source.task!r} of {source.tasks} has no images"


def unfit(config: Config, corpus: str, use: str, *splits: str) -> str | None:
    """The reason why `corpus` cannot serve for `use` (evaluation or training) with `splits`; None if it can."""
    entry = config.corpora.get(corpus)
    if entry is None:
        return f"unknown corpus {corpus!r}{registry.did_you_mean(corpus, config.corpora)}"
    if isinstance(entry.source, GeneratedSource | PairsSource) and splits != ("calibration",):
        kind = "text that each model writes itself" if isinstance(entry.source, GeneratedSource) else "images with text"
        return f"corpus {corpus!r} is {kind}: it can only be a calibration"
    if (entry.use == "training") == (use == "training"):
        absent = [split for split in splits if split not in entry.splits]
        has = f"it has: {', '.join(entry.splits)}"
        return f"corpus {corpus!r} has no split {' or '.join(absent)} ({has})" if absent else None
    has = "one split, training" if entry.use == "training" else "no split for training"
    return f"corpus {corpus!r} is for {entry.use}: it has {has}"


def plugin_mistakes(config: Config, kind: str, entry: Any, key: str, param: str) -> list[str]:
    """One line for each mistake in `entry` of the catalog `kind` (methods, allocators or suites).

    `key` is written in front of names of keys, and `param` in front of names of parameters.
    """
    singular = SINGULAR[kind]
    word = getattr(entry, singular)
    try:
        plugin = registry.load(kind, word)
    except PrunebenchError as error:
        return [f"{key}{singular}: {error}"]
    preset = getattr(entry, "preset", "paper")
    if preset not in plugin.presets:
        return [f"{key}preset: unknown preset {preset!r}{registry.did_you_mean(preset, plugin.presets)}"]
    try:
        instance = configured(kind, entry)
    except ValidationError as error:
        given = {**plugin.presets[preset], **entry.params}
        return error_lines(error, plugin.Params, given, prefix=param)
    assets = [asset.split("/") for asset in instance.assets]
    mistakes = [
        f"{_holder(instance.params, name)}: unknown {SINGULAR[catalog]} {name!r}"
        f"{registry.did_you_mean(name, getattr(config, catalog))}"
        for catalog, name in assets
        if name not in getattr(config, catalog)
    ]
    corpora = [name for catalog, name in assets if catalog == "corpora"]
    reasons = {name: unfit(config, name, "evaluation") for name in corpora if name in config.corpora}
    mistakes += [f"{_holder(instance.params, name)}: {reason}" for name, reason in reasons.items() if reason]
    if kind == "allocators":
        mistakes += [mistake for search in instance.searches if (mistake := _unfit_search(config, instance, search))]
    if kind == "suites" and not mistakes:
        mistakes = list(instance.mistakes(config))
    return [f"{param}{mistake}" for mistake in mistakes]


def _empty_tables(config: Config) -> Iterator[str]:
    """One line for each table that a study asks for although none of its suites measures what the table shows."""
    for name, study in config.studies.items():
        suites = {config.suites[suite].suite for row in study.grid for suite in row.suites or study.suites}
        for i, table in enumerate(study.tables):
            kind = registry.load("tables", table)
            if not any(kind.shows(registry.load("suites", suite)) for suite in suites):
                measured = " or ".join(metric(name).title.lower() for name in kind.metrics) or "what it shows"
                yield f"studies.{name}.tables[{i}]: {table!r} needs a suite that measures {measured}"


def _unknown_sources(config: Config) -> Iterator[str]:
    """One line for each source of published values that a study asks for and that has no values."""
    for name, study in config.studies.items():
        for i, source in enumerate(study.published):
            known = {value.source for value in load_values()}
            if source not in known:
                yield f"studies.{name}.published[{i}]: unknown source {source!r}{registry.did_you_mean(source, known)}"


def _leaks(config: Config) -> Iterator[str]:
    """One line for each suite of a study that evaluates the pairs of images and text on which it calibrates."""
    for name, study in config.studies.items():
        rows = (study.defaults, *study.grid)
        searched = [config.searches[search].calibration for search in sorted(_used_searches(config, [study]))]
        calibrations = dict.fromkeys([*(value for row in rows for value in row.calibration or []), *searched])
        for suite in dict.fromkeys(suite for row in study.grid for suite in row.suites or study.suites):
            plugin = configured("suites", config.suites[suite])
            for calibration, pairs in zip(calibrations, map(config.pairs_of, calibrations), strict=True):
                if pairs and f"tasks/{pairs.tasks}" in plugin.assets and pairs.task in plugin.params.tasks:
                    yield (
                        f"studies.{name}: suite {suite!r} evaluates the task {pairs.task!r} of {pairs.tasks}, on which "
                        f"{calibration} calibrates: name a training split there"
                    )


def _unfit_search(config: Config, allocator: Allocator, search: Search) -> str | None:
    """The reason why `allocator` cannot use the result of `search`; None if it can."""
    entry = config.searches.get(search.name)
    if entry is None:
        return f"search: unknown search {search.name!r}{registry.did_you_mean(search.name, config.searches)}"
    if entry.space != allocator.space:
        return f"search: {search.name!r} is a search of {entry.space}, but {allocator.name!r} takes {allocator.space}"
    if search.seed is not None and search.seed not in entry.seeds:
        known = ", ".join(map(str, entry.seeds))
        return f"search_seed: search {search.name!r} has no seed {search.seed} (it has: {known})"
    if allocator.place > entry.evaluations:
        return (
            f"place: search {search.name!r} has {entry.evaluations} evaluations, so none is in place {allocator.place}"
        )
    return None


def _holder(params: Parameters, name: str) -> str:
    """The name of the parameter whose value is `name` or a list with `name` in it."""
    return next(key for key, value in params if name == value or (isinstance(value, list) and name in value))


def _missing_files(config: Config) -> Iterator[tuple[str, str, str]]:
    """A tuple (kind, name, mistake) for each local model or corpus that a study uses and that does not exist."""
    studies = config.studies.values()
    rows = [row for study in studies for row in (study.defaults, *study.grid)]
    suites = {suite for study in studies for row in study.grid for suite in row.suites or study.suites}
    used = {("models", model) for row in rows for model in row.model or []}
    searches = [config.searches[name] for name in _used_searches(config, studies)]
    calibrations = [value for row in rows for value in row.calibration or []]
    calibrations += [search.calibration for search in searches]
    texts = set(map(config.text_of, calibrations))
    used |= {("tasks", pairs.tasks) for pairs in map(config.pairs_of, calibrations) if pairs}
    plugins = [configured("suites", config.suites[suite]) for suite in suites]
    plugins += [configured("methods", config.methods[method]) for row in rows for method in row.method or []]
    assets = {asset for plugin in plugins for asset in plugin.assets}
    used |= {(kind, name) for kind, name in (asset.split("/") for asset in assets)}
    used |= {("models", search.model) for search in searches}
    texts |= {search.corpus for search in searches}
    used |= {("corpora", text) for text in texts if text is not None}
    sources = [config.models[name].source for kind, name in used if kind == "models"]
    trained = [source for source in sources if isinstance(source, TrainedSource)]
    used |= {("corpora", corpus) for source in trained for corpus in (*source.corpora, *source.unseen)}
    for kind, name in sorted(used):
        entry = getattr(config, kind)[name]
        if kind == "tasks":
            yield from ((kind, name, mistake) for mistake in _missing_definitions(name, entry))
        if not isinstance(entry.source, PathSource):
            continue
        key = f"{kind}.{name}.source.path"
        try:
            local_path(entry.source)
            files = local_row_files(entry).values() if kind == "tasks" else local_files(entry.source)
            if special := [file for file in map(str, files) if _SPECIAL.search(file) or unseen(file)]:
                yield (
                    kind,
                    name,
                    f"{key}: {{ }} < > and control characters in names of files have a meaning: rename {special[0]!r}",
                )
            if kind == "models" and (config_json := local_path(entry.source) / "config.json").is_file():
                check_family(read_object(config_json), entry.source.path, entry.family)
        except PrunebenchError as error:
            yield kind, name, f"{key}: {error}"
        except OSError as error:
            yield kind, name, f"{key}: {entry.source.path} cannot be read: {error.strerror}"


def _missing_definitions(name: str, entry: TasksEntry) -> Iterator[str]:
    """One line for each task of a bundle whose definition the installed lm-eval does not have."""
    package = find_spec("lm_eval")  # the package itself is not imported
    for folder in package.submodule_search_locations or () if package else ():
        for task, data in entry.tasks.items():
            if data.stock is None:
                continue
            pattern = glob.escape(data.stock).replace("[*]", "*")
            if not glob.glob(pattern, root_dir=Path(folder, "tasks")):  # noqa: PTH207 - Path.glob refuses `a**`
                yield f"tasks.{name}.tasks.{task}.stock: lm-eval has no task file {data.stock!r}"


def _unreadable_texts(config: Config) -> Iterator[tuple[str, str]]:
    """A pair (search, mistake) for each text of a search that a study uses and whose model cannot read it."""
    for name in sorted(_used_searches(config, config.studies.values())):
        search = config.searches[name]
        mistake = unreadable(config, search.model, search.calibration)
        if mistake is None and (reason := too_long(config, search.model, search.seqlen)):
            mistake = f"seqlen: the search {reason}"
        if mistake:
            yield name, f"searches.{name}.{mistake}"


def _used_searches(config: Config, studies: Collection[Study]) -> set[str]:
    """The names of the searches that `studies` show, and of the searches whose results their allocators use."""
    rows = [row for study in studies for row in (study.defaults, *study.grid)]
    allocators = {name for row in rows for name in row.allocator or []}
    plugins = [configured("allocators", config.allocators[name]) for name in allocators]
    taken = {search.name for plugin in plugins for search in plugin.searches}
    return taken | {name for study in studies for name in study.searches}
