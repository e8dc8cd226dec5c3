"""Catalog entries for the models that studies name in place (`model: {hub: owner/name}` or `{path: directory}`)."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from prunebench.config.in_place import HubModel, InPlace, in_place
from prunebench.config.sources import HubModelSource
from prunebench.errors import PrunebenchError


def with_entries(raw: dict[str, Any], file: str) -> dict[str, Any]:
    """Return the parsed config `raw` with names in place of such models, and their entries under 'models'.

    The sizes of a model on the hub are read from its config.json, which is fetched unless huggingface_hub's cache has
    it. Raises PrunebenchError if a model cannot be read, or if two models would have one name. A config with a mistake
    in its form is returned as it is, because its validation explains the mistake.
    """
    if not isinstance(raw, dict):
        return raw
    full = deepcopy(raw)
    models: dict[str, InPlace] = {}
    taken = set(full["models"]) if isinstance(full.get("models"), dict) else set()
    for axes in _axes(full):
        values = axes["model"] if isinstance(axes["model"], list) else [axes["model"]]
        try:
            names = [_name(value, models, file) for value in values]
        except ValueError:
            return raw
        taken |= {value for value in values if isinstance(value, str)}
        axes["model"] = names
    for name in taken.intersection(models):
        raise PrunebenchError(_twice(name, file))
    if not models or not isinstance(full.get("models", {}), dict):
        return raw
    return {**full, "models": {**full.get("models", {}), **{name: _entry(models[name], file) for name in models}}}


def _axes(raw: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give each mapping of axes with a model in the studies of `raw`, whose form need not be right."""
    studies = raw.get("studies")
    for study in studies.values() if isinstance(studies, dict) else ():
        if isinstance(study, dict):
            rows = [row for key in ("grid", "exclude") if isinstance(study.get(key), list) for row in study[key]]
            yield from (axes for axes in (study.get("defaults"), *rows) if isinstance(axes, dict) and "model" in axes)


def _name(value: Any, models: dict[str, InPlace], file: str) -> Any:
    """Return the name of a model and note a model that is named in place in `models`. ValueError if it is malformed."""
    if not isinstance(value, dict):
        return value
    model = in_place(value)
    if models.setdefault(model.name, model) != model:
        raise PrunebenchError(_twice(model.name, file))
    return model.name


def _entry(model: InPlace, file: str) -> dict[str, Any]:
    """Make the catalog entry of `model`."""
    try:
        if isinstance(model, HubModel):
            # This import is slow, and the Snakefile imports this module.
            from prunebench.assets.hub import described

            source = {"kind": "hub", "repo": model.hub, "revision": model.revision, "weights": model.weights}
            return described(HubModelSource.model_validate(source))
        # This import brings safetensors.
        from prunebench.storage.layout import family_of, read_config

        directory = Path(model.path)
        if not directory.is_dir():
            raise PrunebenchError(f"no such directory: {model.path} (looked for from {Path.cwd()})")
        family = family_of(directory, read_config(directory)).name
        return {"title": directory.resolve().name, "family": family, "source": {"kind": "path", "path": model.path}}
    except PrunebenchError as error:
        raise PrunebenchError(f"{file}: model {model.name}: {error}") from None


def _twice(name: str, file: str) -> str:
    return f"{file}: two models would be called {name!r}: give one an entry with another name under 'models'"
