"""The protocol of a study and the limits of its numbers, in sentences that follow from its config."""

from collections.abc import Iterator

from prunebench.cell import NO_CALIBRATION
from prunebench.config.schema import calibration_parts, configured
from prunebench.plan.plan import Plan


def protocol(plan: Plan, study: str) -> Iterator[str]:
    """Describe how the numbers of `study` were measured."""
    expansion, config, compute = plan.studies[study], plan.config, plan.config.compute
    models = dict.fromkeys(config.models[cell.model].title for cell in expansion.cells)
    yield f"Models: {', '.join(models)}. Every cell is rounded to the model's stored dtype, the dense row included."
    for name in dict.fromkeys(cell.calibration for cell in expansion.cells):
        if name != NO_CALIBRATION:
            corpus, samples, seqlen = calibration_parts(name)
            title = config.corpora[corpus].title
            yield f"Calibration {name}: {samples} windows of {seqlen} tokens of {title}, the same for all methods."
    for suite in expansion.all_suites:
        entry = config.suites[suite]
        plugin = configured("suites", entry)
        names = [asset.split("/") for asset in sorted(plugin.assets)]
        titles = [getattr(config, kind)[name].title for kind, name in names]
        parts = ([entry.title] if entry.title else []) + ([f"on {', '.join(titles)}"] if titles else [])
        yield f"{plugin.title} ({suite}){': ' if parts else ''}{', '.join(parts)}."
    yield (
        f"Computed in {compute.dtype}, {compute.batch_size} windows per forward pass, {compute.threads} "
        f"thread{'s' if compute.threads > 1 else ''} per job, unless an entry of the catalogs says otherwise."
    )


def cautions(plan: Plan, study: str) -> Iterator[str]:
    """Warn of conclusions that the numbers of `study` do not allow."""
    expansion = plan.studies[study]
    seeds = {cell.seed for cell in expansion.cells if cell.calibrated}
    if 0 < len(seeds) < 3:
        count = "One seed" if len(seeds) == 1 else "Two seeds"
        yield f"{count}: a difference between methods may be one of calibration windows. Rank them on three or more."
    yield (
        "At high sparsity rounding alone (another batch size, thread count or dtype) moves perplexities of small "
        "models by percents; config/studies/rounding.yaml measures how far."
    )
    yield (
        "Compare with published numbers only where model, test text, window length and calibration are the same: "
        "texts are named for what they are, not for what they resemble."
    )
    timed = any(configured("suites", plan.config.suites[suite]).alone for suite in expansion.all_suites)
    rest = (
        "the speed and the size shown are those of packed models in prunebench's own runtime, on one machine."
        if timed
        else "this says what pruning costs in quality, not what a runtime gains from it."
    )
    yield f"Zeros save neither memory nor time by themselves: {rest}"
