"""Two models on the same windows of text: how sure the difference between them is."""

from collections.abc import Sequence

LEVEL = 0.95
RESAMPLES = 9999


def interval(losses: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """The 95% interval of mean(losses - others), where both are of the same windows [n], in the same order.

    A percentile bootstrap in float64 over windows, paired: a window that is hard for one model is for the other. Always
    with the same draws, so that the same losses have the same interval. Windows are taken as independent, although
    neighbours may be of one document.

    Raises ValueError if there are fewer than two windows, or if the two are not of equally many.
    """
    # Imported here: it takes as long as all else that a job of tables or figures loads.
    import numpy as np
    from scipy.stats import bootstrap

    differences = np.subtract(losses, others, dtype=np.float64) if len(losses) == len(others) else np.empty(0)
    if len(differences) < 2:
        raise ValueError(f"{len(losses)} and {len(others)} windows are not two or more pairs")
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    found = bootstrap(
        (differences,), np.mean, n_resamples=RESAMPLES, confidence_level=LEVEL, method="percentile", rng=0
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
