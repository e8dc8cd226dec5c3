"""AdamW on the kept weights of one linear, written from Loshchilov & Hutter 2019, algorithm 2, in float64."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def learn(
    W: Array, samples: list[Array], targets: list[Array], *, epochs: int, learning_rate: float, decay: float = 0.0
) -> Array:
    """W [out, in] after a step on each sample X [tokens, in] with target Y [tokens, out], `epochs` times.

    The loss is ||Y - X W^T||^2 / ||Y||^2, times 2^16. What is 0 in W stays 0. The learning rate falls to 0 by equal
    steps.
    """
    kept, first, second = W != 0, np.zeros_like(W), np.zeros_like(W)
    steps = epochs * len(samples)
    for t in range(1, steps + 1):
        X, Y = samples[(t - 1) % len(samples)], targets[(t - 1) % len(samples)]
        gradient = 2**16 * 2 * (X @ W.T - Y).T @ X / np.sum(Y**2) * kept
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        rate = learning_rate * (1 - (t - 1) / steps)
        step = first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        W = W - rate * decay * W - rate * step
    return W


def error(W: Array, samples: list[Array], targets: list[Array]) -> float:
    """The mean of ||Y - X W^T||^2 / ||Y||^2."""
    return float(np.mean([np.sum((Y - X @ W.T) ** 2) / np.sum(Y**2) for X, Y in zip(samples, targets, strict=True)]))
