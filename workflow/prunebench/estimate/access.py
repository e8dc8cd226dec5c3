"""What a plan has to fetch: from where, how much, and whether it may."""

from typing import Any

from prunebench.config.entries import HubModelSource, HubSource
from prunebench.estimate.estimate import Estimate


def source(estimate: Estimate, asset: str) -> Any:
    """The source in the catalog of an asset such as models/opt_125m."""
    kind, name = asset.split("/")
    return getattr(estimate.plan.config, kind)[name].source


def origin(estimate: Estimate, asset: str) -> str:
    """Where it comes from, in words."""
    of = source(estimate, asset)
    return of.repo if isinstance(of, HubSource) else of.origin.removeprefix("from ")


def size(estimate: Estimate, asset: str) -> float | None:
    """Bytes of a hub model, at most, from its shape; None for what is here, for packages, and for text and tasks."""
    kind, name = asset.split("/")
    if kind != "models" or not isinstance(source(estimate, asset), HubSource):
        return None
    model = estimate.model(name)
    return float(model.parameters * model.item)


def converted(estimate: Estimate, asset: str) -> float:
    """Bytes of the copy that stays beside a hub model, at most: pickled weights become safetensors on arrival."""
    of = source(estimate, asset)
    pickled = isinstance(of, HubModelSource) and of.weights == "pytorch"
    return size(estimate, asset) or 0.0 if pickled else 0.0


def unsized(estimate: Estimate) -> list[str]:
    """What comes from the hub and has no size before it is here."""
    hub = [asset for asset in estimate.assets if isinstance(source(estimate, asset), HubSource)]
    return [asset for asset in hub if size(estimate, asset) is None]


def condition(estimate: Estimate, asset: str) -> str:
    """What the catalog says about who may have it, and whether its revision was seen."""
    of = source(estimate, asset)
    if not isinstance(of, HubSource):
        return ""
    return ", ".join((["gated: needs HF_TOKEN"] if of.gated else []) + ([] if of.verified else ["not verified"]))


def check(estimate: Estimate) -> dict[str, str | None]:
    """By asset what is wrong with it, or None: asks the hub for names and headers of files, and downloads none."""
    return {asset: _problem(estimate, asset) for asset in estimate.assets}


def _problem(estimate: Estimate, asset: str) -> str | None:
    from prunebench.assets.hub import check_access
    from prunebench.assets.tasks import hub_row_paths

    of = source(estimate, asset)
    if not isinstance(of, HubSource):
        return None
    kind, name = asset.split("/")
    return check_access(of, hub_row_paths(estimate.plan.config.tasks[name]) if kind == "tasks" else ())
