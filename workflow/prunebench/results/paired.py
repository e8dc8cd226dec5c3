"""The comparison of two models on the same windows of text: how sure the difference between them is."""

from collections.abc import Sequence

LEVEL = 0.95
RESAMPLES = 9999


def interval(losses: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """Compute the 95% interval of mean(losses - others), two losses for each window [n], in the same order.

    A window that is hard for one model is hard for the other, so windows are compared in pairs. The interval covers two
    in float64: a percentile bootstrap over windows, and Student's t, because a bootstrap of few windows is too narrow.
    The draws never change, so that equal losses have equal intervals. Windows are assumed to be independent, although
    neighbours may come from one document.

    Raises ValueError if there are fewer than two windows, or if the two are not of equally many.
    """
    # These imports take as long as everything else that a job of tables or figures loads.
    import numpy as np
    from scipy.stats import bootstrap, sem, t

    differences = np.subtract(losses, others, dtype=np.float64) if len(losses) == len(others) else np.empty(0)
    if len(differences) < 2:
        raise ValueError(f"{len(losses)} and {len(others)} windows are not two or more pairs")
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    drawn = bootstrap(
        (differences,), np.mean, n_resamples=RESAMPLES, confidence_level=LEVEL, method="percentile", rng=0
    ).confidence_interval
    low, high = t.interval(LEVEL, len(differences) - 1, np.mean(differences), sem(differences))
    return float(min(low, drawn.low)), float(max(high, drawn.high))
