"""All resamples of a few numbers, counted one by one."""

import itertools
from collections import Counter

import numpy as np
from numpy.typing import NDArray


def exact_mean_distribution(sample: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values [k] and shares [k] of the mean over all n**n equally likely resamples of `sample` [n]."""
    counts = Counter(
        tuple(np.bincount(drawn, minlength=len(sample)))
        for drawn in itertools.product(range(len(sample)), repeat=len(sample))
    )
    values = np.array([sum(c * float(x) for c, x in zip(of, sample, strict=True)) / len(sample) for of in counts])
    return values, np.array(list(counts.values())) / len(sample) ** len(sample)
