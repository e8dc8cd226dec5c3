"""Lays out the directory of a study: a config, profiles, and a Snakefile that includes the package's workflow."""

import shlex
from pathlib import Path

from prunebench import registry
from prunebench.config.packaged import ROOT, packaged
from prunebench.config.schema import CONFIG, STUDIES
from prunebench.errors import PrunebenchError
from prunebench.storage.files import write_text

TEMPLATES = Path(__file__).with_name("templates") / "project"
COPIED = ("config/schema.json", "profiles/**/*.yaml")
"""Patterns of the package's files that a project has copies of. Snakemake looks for profiles beside the Snakefile."""

QUICKSTART = "quickstart"
"""The study of the package's config/config.yaml."""


def create(directory: Path, study: str | None = None) -> list[Path]:
    """Write the files of a project into `directory` and return their paths.

    With `study`, QUICKSTART or the name of a config file in config/studies/ without its suffix, that file becomes the
    project's config. Raises PrunebenchError, and writes nothing, for an unknown study, or if one of the files is there
    already.
    """
    texts = {path.relative_to(TEMPLATES): path for path in sorted(TEMPLATES.rglob("*")) if path.is_file()}
    texts |= {path.relative_to(ROOT): path for pattern in COPIED for path in sorted(ROOT.glob(pattern))}
    if study is not None:
        texts[CONFIG] = _study(study)
    present = [str(directory / name) for name in texts if (directory / name).exists()]
    if present:
        raise PrunebenchError(f"{', '.join(present)}: there already, and not overwritten. Name a new directory")
    for name, source in texts.items():
        write_text(directory / name, source.read_text(encoding="utf-8"))
    return [directory / name for name in texts]


def way_to(config: Path) -> str | None:
    """Say how to run a config file of the package; None for a file of the project in the working directory."""
    if config.exists():
        return None
    name = config.stem if config.parent == STUDIES else QUICKSTART
    way = (
        f"This config comes with the package. To run it: prunebench init DIR --study {shlex.quote(name)}, then "
        "snakemake --cores all in DIR"
    )
    return way if config.parent == STUDIES else f"{way}. To begin a project of your own: prunebench init DIR"


def _study(name: str) -> Path:
    """Return the package's config file of the study `name`. Raises PrunebenchError if there is none."""
    files = {path.stem: path.relative_to(ROOT) for path in sorted(ROOT.glob(f"{STUDIES}/*.yaml"))}
    files[QUICKSTART] = CONFIG
    if name not in files:
        raise PrunebenchError(f"--study: unknown study {name!r}{registry.did_you_mean(name, files)}")
    return packaged(files[name])
