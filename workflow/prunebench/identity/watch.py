"""A watch over the code of a job, so that no result carries the fingerprint of other code than computed it."""

import importlib
from collections.abc import Mapping
from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.identity.fingerprint import PACKAGE, Sources, closure, fingerprint


class Watch:
    """The modules that a job rests on. Their code must stay as it was when the job was planned, until the job ends."""

    def __init__(self, planned: Mapping[str, str], workflow: Path = Path(__file__).parents[2]) -> None:
        """Import the modules `planned`, which maps their names without the package to their fingerprints.

        `workflow` is the directory of the package. Raises PrunebenchError if their code is not the planned code, or if
        it changes while they are imported.
        """
        self._planned, self._workflow = planned, workflow
        self._texts: dict[str, str] = {}
        self.check()
        for module in planned:
            importlib.import_module(f"{PACKAGE}.{module}")
        self.check()

    def check(self) -> None:
        """Raise PrunebenchError if the code of a module on disk is not the planned code."""
        sources = Sources.from_directory(self._workflow)
        if self._texts and all(sources.texts.get(name) == text for name, text in self._texts.items()):
            return
        for module, planned in self._planned.items():
            try:
                same = fingerprint(f"{PACKAGE}.{module}", sources) == planned
            except (KeyError, SyntaxError):  # a file is gone, or is half saved
                same = False
            if not same:
                raise PrunebenchError(
                    f"the code of {PACKAGE}.{module} was edited after this job was planned: nothing is written. "
                    "Run snakemake again when the edit is done"
                )
        names = {name for module in self._planned for name in closure(f"{PACKAGE}.{module}", sources)}
        self._texts = {name: sources.texts[name] for name in names}
