"""prunebench: a benchmark of LLM pruning. Importing this package is cheap; torch is imported only where it is used."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prunebench.errors import PrunebenchError as PrunebenchError
    from prunebench.runtime.progress import Step as Step
    from prunebench.standalone.api.compare import compare as compare
    from prunebench.standalone.api.evaluate import evaluate as evaluate
    from prunebench.standalone.api.export import export as export
    from prunebench.standalone.api.load import load as load
    from prunebench.standalone.api.perplexity import perplexity as perplexity
    from prunebench.standalone.api.prune import Pruned as Pruned
    from prunebench.standalone.api.prune import prune as prune
    from prunebench.standalone.api.push import push as push
    from prunebench.standalone.api.results import load_results as load_results
    from prunebench.standalone.api.search import Found as Found
    from prunebench.standalone.api.search import search as search
    from prunebench.standalone.api.speed import speed as speed
    from prunebench.standalone.compare import Compared as Compared
    from prunebench.suites.base import Score as Score

__version__ = "0.1.0"
_API = "prunebench.standalone.api"
_PLACES = {
    "prune": f"{_API}.prune",
    "Pruned": f"{_API}.prune",
    "perplexity": f"{_API}.perplexity",
    "evaluate": f"{_API}.evaluate",
    "compare": f"{_API}.compare",
    "search": f"{_API}.search",
    "Found": f"{_API}.search",
    "speed": f"{_API}.speed",
    "load": f"{_API}.load",
    "export": f"{_API}.export",
    "push": f"{_API}.push",
    "load_results": f"{_API}.results",
    "Compared": "prunebench.standalone.compare",
    "Score": "prunebench.suites.base",
    "Step": "prunebench.runtime.progress",
    "PrunebenchError": "prunebench.errors",
}
"""The module of each name that the package offers."""
__all__ = [*_PLACES, "__version__"]


class _Package(ModuleType):
    """The package itself: a folder never hides the function of its name, as the folder search/ would."""

    def __getattr__(self, name: str) -> Any:
        """Import the module of `name` at the first use of the name."""
        if name in _PLACES:
            return getattr(import_module(_PLACES[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _PLACES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
