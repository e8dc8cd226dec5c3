"""The comparison of two models on the same windows of text: how sure the difference between them is."""

from collections.abc import Sequence

LEVEL = 0.95
RESAMPLES = 9999


def interval(losses: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """Compute the 95% interval of mean(losses - others), two losses for each window [n], in the same order.

    The method is a paired percentile bootstrap over windows in float64: a window that is hard for one model is hard for
    the other. The draws never change, so that equal losses have equal intervals. Windows are assumed to be independent,
    although neighbours may come from one document.

    Raises ValueError if there are fewer than two windows, or if the two are not of equally many.
    """
    # This import takes as long as everything else that a job of tables or figures loads.
    import numpy as np
    from scipy.stats import bootstrap

    differences = np.subtract(losses, others, dtype=np.float64) if len(losses) == len(others) else np.empty(0)
    if len(differences) < 2:
        raise ValueError(f"{len(losses)} and {len(others)} windows are not two or more pairs")
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    result = bootstrap(
        (differences,), np.mean, n_resamples=RESAMPLES, confidence_level=LEVEL, method="percentile", rng=0
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
