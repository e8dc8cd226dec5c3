"""A new plug-in from a template that works as it is."""

import keyword
import re
from pathlib import Path

from prunebench import registry
from prunebench.config.schema import SINGULAR, read_config, with_catalogs
from prunebench.errors import PrunebenchError

PACKAGE = Path(registry.__file__).parent
TEMPLATES = Path(__file__).with_name("templates")


def create(kind: str, name: str, configfile: Path) -> Path:
    """Write the file of a new method or allocator (`kind` in the plural) and return its path.

    Raises PrunebenchError if `name` cannot be a file of Python, or means something already.
    """
    path = PACKAGE / kind / f"{name}.py"
    _refuse_bad_name(kind, name, path, configfile)
    text = (TEMPLATES / f"{SINGULAR[kind]}.py").read_text(encoding="utf-8")
    title = "".join(part.capitalize() for part in name.split("_"))
    path.write_text(text.replace("Template", title).replace("template", name), encoding="utf-8")
    return path


def _refuse_bad_name(kind: str, name: str, path: Path, configfile: Path) -> None:
    singular = SINGULAR[kind]
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise PrunebenchError(
            f"{name!r} cannot be a file of {kind}: lower-case letters, digits and '_', a letter first, and no "
            "word of Python's own, as in 'my_method'"
        )
    if path.exists():
        raise PrunebenchError(f"{path} is there already: choose another name, or edit that file")
    config, files = with_catalogs(read_config(configfile), str(configfile))
    if name in getattr(config, kind):
        raise PrunebenchError(f"{name!r} is a known {singular}, from {files[kind, name]}: choose another name")
