"""The configs that were run here, by their records beside their results, and the study that a user means."""

import json
from contextlib import suppress
from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.plan import paths
from prunebench.plan.plan import Plan
from prunebench.registry import did_you_mean


def records() -> list[Path]:
    """List the records of all configs, that of the default config first."""
    name = Path(paths.CONFIG_RECORD).name
    first = Path(paths.CONFIG_RECORD.format(home=paths.HOME))
    return [*([first] if first.is_file() else []), *sorted(Path(paths.OTHERS).rglob(name))]


def read(record: Path) -> tuple[str, dict[str, object]]:
    """Read the name of a config and the config. Raises PrunebenchError for a record that is none."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        return str(content["file"]), dict(content["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise PrunebenchError(f"{record} is damaged: run its config again, or delete {record}") from error


def studies(plan: Plan, name: str | None) -> list[str]:
    """Find the study `name` of `plan`, or all its studies if it is None.

    Raises PrunebenchError with the nearest name if there is none, and with the other configs that were run here.
    """
    if name is None or name in plan.studies:
        return [name] if name else list(plan.studies)
    way = other_configs(plan) or "a study of another file is reached with --configfile"
    raise PrunebenchError(f"no study {name!r} in {plan.file}{did_you_mean(name, plan.studies)}\n{way}")


def files() -> list[str]:
    """List the files of all configs that were run here, without damaged records: other commands tell of these."""
    names = []
    for record in records():
        with suppress(PrunebenchError):
            names.append(read(record)[0])
    return names


def other_configs(plan: Plan) -> str | None:
    """Say which config `plan` is of, if configs of other files were run here: the results may be theirs."""
    others = [file for file in files() if file != plan.file]
    if not others:
        return None
    return f"this is of {plan.file}; there are also results of {', '.join(others)}: name another config by --configfile"
