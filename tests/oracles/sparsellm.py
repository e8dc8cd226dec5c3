"""SparseLLM written from its objective and from the loop that its authors released, in float64, all tokens at once.

Tokens are columns, as in the paper: X [hidden, tokens], z, s and p [ffn, tokens], Y [hidden, tokens]. An FFN without
gate is OPT's (ReLU, biases), one with gate LLaMA's (SiLU).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from oracles import sparsegpt
from prunebench.patterns import Pattern

Array = NDArray[np.float64]

DAMPING = 0.01
S_STEPS, DOWN_STEPS, RATE = 2, 10, 0.01


@dataclass(frozen=True)
class Ffn:
    """Weights [out, in], and biases [out, 1] of what has some."""

    up: Array
    down: Array
    gate: Array | None = None
    up_bias: Array | float = 0.0
    down_bias: Array | float = 0.0

    def pre(self, X: Array) -> tuple[Array, Array | None]:
        """(W_up X + b, W_gate X)."""
        return self.up @ X + self.up_bias, None if self.gate is None else self.gate @ X

    def __call__(self, X: Array) -> Array:
        """The output of the FFN."""
        return self.down @ middle(*self.pre(X)) + self.down_bias


@dataclass(frozen=True)
class Penalties:
    """The weights of the objective's terms."""

    alpha: float
    beta: float
    gamma: float


@dataclass
class Run:
    """The record of each epoch."""

    weights: list[Ffn] = field(default_factory=list)
    terms: list[dict[str, float]] = field(default_factory=list)
    reconstruction: list[float] = field(default_factory=list)


def silu(x: Array) -> Array:
    """x * logistic(x)."""
    return np.asarray(x * expit(x))


def silu_slope(x: Array) -> Array:
    """Its derivative."""
    logistic = expit(x)
    return np.asarray(logistic * (1 + x * (1 - logistic)))


def relu(x: Array) -> Array:
    """max(0, x)."""
    return np.maximum(x, 0)


def middle(z: Array, s: Array | None) -> Array:
    """The target of p: relu(z), or silu(s) z."""
    return relu(z) if s is None else silu(s) * z


def terms(ffn: Ffn, X: Array, Y: Array, p: Array, z: Array, s: Array | None, by: Penalties) -> dict[str, float]:
    """The objective, term by term."""
    up, gate = ffn.pre(X)
    found = {
        "up": by.alpha * np.sum((z - up) ** 2),
        "down": by.beta * np.sum((Y - ffn.down_bias - ffn.down @ p) ** 2),
        "activation": by.gamma * np.sum((p - middle(z, s)) ** 2),
    }
    if s is not None and gate is not None:
        found["gate"] = by.alpha * np.sum((s - gate) ** 2)
    return {term: float(value) for term, value in found.items()}


def reconstruction(ffn: Ffn, X: Array, Y: Array) -> float:
    """||Y - FFN(X)||^2 / ||Y - b||^2."""
    return float(np.sum((Y - ffn(X)) ** 2) / np.sum((Y - ffn.down_bias) ** 2))


def update_p(ffn: Ffn, Y: Array, z: Array, s: Array | None, by: Penalties) -> Array:
    """(beta W^T W + gamma I)^-1 (beta W^T (Y - b) + gamma act)."""
    W = ffn.down
    left = by.beta * W.T @ W + by.gamma * np.eye(W.shape[1])
    return np.linalg.solve(left, by.beta * W.T @ (Y - ffn.down_bias) + by.gamma * middle(z, s))


def update_z(m: Array, s: Array | None, p: Array, by: Penalties) -> Array:
    """Gated: where the derivative is 0. ReLU: the better one of the best on either side of 0."""
    if s is not None:
        a = silu(s)
        return np.asarray((by.alpha * m + by.gamma * a * p) / (by.alpha + by.gamma * a**2))
    right = relu((by.gamma * p + by.alpha * m) / (by.gamma + by.alpha))
    left = np.minimum(m, 0)
    costs = [by.gamma * (p - relu(z)) ** 2 + by.alpha * (z - m) ** 2 for z in (right, left)]
    return np.where(costs[0] <= costs[1], right, left)


def update_s_by_gradient(s: Array, g: Array, z: Array, p: Array, by: Penalties) -> Array:
    """Two steps of gradient descent on alpha ||s - g||^2 + gamma ||p - silu(s) z||^2."""
    for _ in range(S_STEPS):
        s = s - RATE * (2 * by.alpha * (s - g) - 2 * by.gamma * (p - silu(s) * z) * silu_slope(s) * z)
    return s


def refit(T: Array, X: Array) -> Array:
    """T X^+, without directions of X too weak for float32."""
    return T @ np.linalg.pinv(X, rcond=3.5e-4)


def refit_by_gradient(W: Array, T: Array, X: Array) -> Array:
    """Ten steps of gradient descent on mean((T - W X)^2), from W."""
    for _ in range(DOWN_STEPS):
        W = W - RATE * 2 * (W @ X - T) @ X.T / T.size
    return W


def released(
    ffn: Ffn,
    X: Array,
    sparsity: float,
    pattern: Pattern,
    by: Penalties,
    *,
    epochs: int,
    down: Callable[[Array, Array, Array], Array] | None = None,
) -> Run:
    """The loop of the released code, without its roundings to half precision.

    The Gram matrix of X is damped in place by every pruning, that of p is made anew. Inputs that are always 0 lose
    their weights (but do not count as 1 in the damping, which is not repeated in SparseGPT either). `down` refits
    W_down, given the pruned one, Y - b and p; by default through the pseudo-inverse.
    """
    down = down or (lambda _, T, p: refit(T, p))
    Y = ffn(X)
    z, s = ffn.pre(X)
    p, H, run = middle(z, s), X @ X.T, Run()
    for epoch in range(epochs):
        if epoch:
            ffn = replace(
                ffn,
                up=refit(z - ffn.up_bias, X),
                gate=None if s is None else refit(s, X),
                down=down(ffn.down, Y - ffn.down_bias, p),
            )
        H = H + DAMPING * np.mean(np.diag(H)) * np.eye(len(H))

        def prune(W: Array, H: Array, damping: float) -> Array:
            alive = np.where(np.diag(H) == 0, 0, W)
            return sparsegpt.prune(alive, H, sparsity, pattern, damping=damping, threshold=True)[0]

        ffn = replace(
            ffn,
            up=prune(ffn.up, H, 0),
            gate=None if ffn.gate is None else prune(ffn.gate, H, 0),
            down=prune(ffn.down, p @ p.T, DAMPING),
        )
        p = update_p(ffn, Y, z, s, by)
        m, g = ffn.pre(X)
        z = update_z(m, s, p, by)
        s = None if s is None or g is None else update_s_by_gradient(s, g, z, p, by)
        run.weights.append(ffn)
        run.terms.append(terms(ffn, X, Y, p, z, s, by))
        run.reconstruction.append(reconstruction(ffn, X, Y))
    return run
