"""The assets that a plan has to fetch: where they come from, their sizes, and whether they may be fetched."""

from dataclasses import dataclass
from typing import Any

from prunebench.config.sources import HubModelSource, HubSource
from prunebench.estimate.estimate import Estimate


@dataclass(frozen=True)
class Problem:
    """The reason why an asset cannot be fetched."""

    text: str
    of_hub: str = ""
    """The reason without the name of the asset, if the hub answers no question; empty if the asset is the problem."""


def source(estimate: Estimate, asset: str) -> Any:
    """Find the source of an asset such as models/opt_125m in the catalog."""
    kind, name = asset.split("/")
    return getattr(estimate.plan.config, kind)[name].source


def origin(estimate: Estimate, asset: str) -> str:
    """Say in words where an asset comes from."""
    entry = source(estimate, asset)
    return entry.repo if isinstance(entry, HubSource) else entry.origin.removeprefix("from ")


def size(estimate: Estimate, asset: str) -> float | None:
    """Compute the largest number of bytes of a hub model from its shape; None for any other asset."""
    kind, name = asset.split("/")
    if kind != "models" or not isinstance(source(estimate, asset), HubSource):
        return None
    model = estimate.model(name)
    return float(model.parameters * model.item)


def converted(estimate: Estimate, asset: str) -> float:
    """Compute the largest number of bytes of the safetensors copy that is made of a hub model with pickled weights."""
    kind, name = asset.split("/")
    return size(estimate, asset) or 0.0 if kind == "models" and is_pickled(estimate, name) else 0.0


def is_pickled(estimate: Estimate, model: str) -> bool:
    """Whether a model of the catalog comes from the hub as pickled weights, of which a safetensors copy is made."""
    entry = estimate.plan.config.models[model].source
    return isinstance(entry, HubModelSource) and entry.weights == "pytorch"


def unsized(estimate: Estimate) -> list[str]:
    """List the assets from the hub whose size is not known before they are here."""
    hub = [asset for asset in estimate.assets if isinstance(source(estimate, asset), HubSource)]
    return [asset for asset in hub if size(estimate, asset) is None]


def condition(estimate: Estimate, asset: str) -> str:
    """Say what the catalog knows about access to an asset, and whether its revision was verified."""
    entry = source(estimate, asset)
    if not isinstance(entry, HubSource):
        return ""
    return ", ".join(["gated: needs HF_TOKEN"] * entry.gated + ["not verified"] * (not entry.verified))


def check(estimate: Estimate) -> dict[str, Problem | None]:
    """Find by asset what prevents its download, or None. Asks the hub for names and headers of files only."""
    return {asset: _problem(estimate, asset) for asset in estimate.assets}


def _problem(estimate: Estimate, asset: str) -> Problem | None:
    from prunebench.assets.hub import check_access
    from prunebench.assets.hub_errors import HubUnavailableError
    from prunebench.assets.tasks import hub_row_paths

    entry = source(estimate, asset)
    if not isinstance(entry, HubSource):
        return None
    kind, name = asset.split("/")
    paths = hub_row_paths(estimate.plan.config.tasks[name]) if kind == "tasks" else ()
    try:
        reason = check_access(entry, paths)
    except HubUnavailableError as error:
        return Problem(str(error), error.anywhere)
    return Problem(reason) if reason else None
