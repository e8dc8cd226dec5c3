"""prunebench: a benchmark of LLM pruning. Importing this package is cheap; torch is imported only where it is used."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prunebench.standalone.api import Pruned as Pruned
    from prunebench.standalone.api import load as load
    from prunebench.standalone.api import perplexity as perplexity
    from prunebench.standalone.api import prune as prune

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `prune`, `perplexity`, `load` and `Pruned` from `prunebench.standalone.api` at their first use."""
    if name in ("prune", "perplexity", "load", "Pruned"):
        from prunebench.standalone import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
