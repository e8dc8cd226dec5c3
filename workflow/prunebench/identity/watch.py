"""A watch over the code of a job, so that no result carries the fingerprint of other code than computed it."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from prunebench import registry
from prunebench.errors import PrunebenchError
from prunebench.identity.fingerprint import PACKAGE, Sources, closure, fingerprint


class Watch:
    """The modules that a job rests on. Their code must stay as it was when the job was planned, until the job ends."""

    def __init__(self, planned: Mapping[str, str], workflow: Path = Path(__file__).parents[2]) -> None:
        """Import the modules `planned`, which maps their names without the package to their fingerprints.

        `workflow` is the directory of the package. Modules that this process has not imported yet are made from the
        texts that were checked, not read from disk again, so an edit during the import that is undone leaves no trace.
        Raises PrunebenchError if their code is not the planned code, or if it changes while they are imported.
        """
        self._planned, self._workflow = planned, workflow
        self._texts: dict[str, str] = {}
        self.check()
        _Checked.serve(self._texts)
        registry.add_project()
        for module in planned:
            importlib.import_module(f"{PACKAGE}.{module}")
        self.check()

    def check(self) -> None:
        """Raise PrunebenchError if the code of a module on disk is not the planned code."""
        try:
            sources = Sources.from_directory(self._workflow, registry.project_files())
            if self._texts and all(sources.texts.get(name) == text for name, text in self._texts.items()):
                return
            edited = [name for name, planned in self._planned.items() if not _is_planned(name, planned, sources)]
        except (OSError, ValueError):  # a file has gone since it was listed, or is half saved
            edited = list(self._planned)
        if edited:
            raise PrunebenchError(
                f"the code of {PACKAGE}.{edited[0]} was edited after this job was planned: nothing is written. "
                "Run snakemake again when the edit is done"
            )
        names = {name for module in self._planned for name in closure(f"{PACKAGE}.{module}", sources)}
        self._texts = {name: sources.texts[name] for name in names}


def _is_planned(module: str, planned: str, sources: Sources) -> bool:
    """Whether the module has its planned fingerprint."""
    try:
        return fingerprint(f"{PACKAGE}.{module}", sources) == planned
    except (KeyError, SyntaxError):  # a file is gone, or is half saved
        return False


class _Checked:
    """A finder of modules that makes them from texts whose fingerprints were checked."""

    texts: Mapping[str, str] = {}

    @classmethod
    def serve(cls, texts: Mapping[str, str]) -> None:
        cls.texts = texts
        if cls not in sys.meta_path:
            sys.meta_path.insert(0, cls)

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in cls.texts else None
        if spec is not None and spec.origin:
            spec.loader = _Loader(name, spec.origin)
        return spec


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        return compile(_Checked.texts[fullname], self.path, "exec", dont_inherit=True)
