"""SparseLLM's sub-problems, one pure function each, on rows of tokens, in the dtype of their arguments.

The objective of a block's FFN (Bai et al. 2024, eq. 5; with s for gated FFNs), over pruned W and the auxiliary
variables z (output of the up projection), s (output of the gate) and p (input of the down projection):

    alpha ||z - W_up X||^2 + alpha ||s - W_gate X||^2 + gamma ||p - act(s) z||^2 + beta ||Y - W_down p||^2

X and Y are the FFN's inputs and outputs; biases are subtracted from Y and added to W_up X. An FFN without gate has the
term gamma ||p - act(z)||^2. Each update minimises the objective in its variable, or at least lowers it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from prunebench.errors import CellFailure
from prunebench.formulas import obs
from prunebench.formulas.finite import are_finite
from prunebench.lazy import torch

Activation = Callable[["torch.Tensor"], "torch.Tensor"]
Smooth = Callable[["torch.Tensor"], "tuple[torch.Tensor, torch.Tensor]"]
"""A function from x to an activation and its slope at x."""


def refit(cross: torch.Tensor, gram: torch.Tensor, ridge: float) -> torch.Tensor:
    """The W [out, in] with the least ||T - W X||^2 + lambda ||W||^2, where lambda = `ridge` * mean(diag X X^T).

    `cross` = T X^T [out, in] and `gram` = X X^T [in, in], in one dtype.
    Raises CellFailure if X X^T + lambda is singular.
    """
    U = obs.inverse_factor(gram, ridge)
    return cross @ U.T @ U


def refit_by_rank(cross: torch.Tensor, gram: torch.Tensor, cut: float) -> torch.Tensor:
    """W = T X^+ [out, in]: least squares without directions of X with singular values up to `cut` of the largest.

    `cross` and `gram` are as in `refit`. Raises CellFailure if they are not finite.
    """
    if not are_finite([gram, cross]):
        raise CellFailure("the auxiliary variables are NaN or infinite")
    values, vectors = torch.linalg.eigh(gram)
    inverse = torch.zeros_like(values)
    kept = values > cut**2 * values[-1]
    inverse[kept] = 1 / values[kept]
    weight: torch.Tensor = (cross @ vectors * inverse) @ vectors.T
    return weight


def refit_by_gradient(
    weight: torch.Tensor, cross: torch.Tensor, gram: torch.Tensor, tokens: int, *, steps: int, rate: float
) -> torch.Tensor:
    """W [out, in] after `steps` of gradient descent on the mean of (T - W X)^2 over all outputs and tokens.

    It starts at `weight`; `cross` and `gram` are as in `refit`, and `tokens` is the number of tokens.
    """
    scale = rate * 2 / (tokens * len(weight))
    for _ in range(steps):
        weight = weight - scale * (weight @ gram - cross)
    return weight


def output_solver(weight: torch.Tensor, ratio: float) -> torch.Tensor:
    """K = (W W^T + ratio I)^-1 [out, out]; ratio = gamma / beta. CellFailure if W = W_down is not finite."""
    inner = weight @ weight.T
    inner.diagonal().add_(ratio)
    factor, failed = torch.linalg.cholesky_ex(inner)
    if failed:
        raise CellFailure(f"W_down W_down^T + {ratio} I is not positive definite: the weights are not finite")
    return torch.cholesky_inverse(factor)


def update_z_relu(m: torch.Tensor, p: torch.Tensor, alpha: float, gamma: float) -> torch.Tensor:
    """The z with the least alpha (z - m)^2 + gamma (p - relu(z))^2, elementwise; m = W_up X + b.

    The loss is a parabola on either side of 0; the lower of the two minima is taken.
    """
    above = ((alpha * m + gamma * p) / (alpha + gamma)).clamp(min=0)
    below = m.clamp(max=0)
    loss_above = alpha * (above - m).square() + gamma * (p - above).square()
    loss_below = alpha * (below - m).square() + gamma * p.square()
    return below.lerp(above, _where(loss_above, loss_below))


def update_z(m: torch.Tensor, a: torch.Tensor, p: torch.Tensor, alpha: float, gamma: float) -> torch.Tensor:
    """The z with the least alpha (z - m)^2 + gamma (p - a z)^2, elementwise; m = W_up X, a = act(s)."""
    return (alpha * m + gamma * a * p) / (alpha + gamma * a.square())


def update_s(
    s: torch.Tensor,
    g: torch.Tensor,
    z: torch.Tensor,
    p: torch.Tensor,
    activation: Smooth,
    alpha: float,
    gamma: float,
    steps: int,
) -> torch.Tensor:
    """An s with a lower alpha (s - g)^2 + gamma (p - act(s) z)^2 than the given one, elementwise; g = W_gate X.

    This is Newton's method with the curvature of the linearised activation (Gauss-Newton). The curvature is positive,
    so that every step starts downhill; elements whose loss ends higher all the same keep their value.
    """
    ratio, unit = gamma / alpha, s.new_ones(())
    new = s
    for _ in range(steps):
        a, slope = activation(new)
        error = p.addcmul(a, z, value=-1)
        jacobian = slope.mul_(z)
        descent = (g - new).addcmul_(jacobian, error, value=ratio)
        new = descent.div_(torch.addcmul(unit, jacobian, jacobian, value=ratio)).add_(new)

    def loss(s: torch.Tensor) -> torch.Tensor:
        error = p.addcmul(activation(s)[0], z, value=-1)
        distance = s - g
        return distance.square_().addcmul_(error, error, value=ratio)

    new = new.nan_to_num_(nan=0.0)  # lerp would keep a NaN, whatever its weight
    return s.lerp(new, _where(loss(new), loss(s)))


def update_s_by_gradient(
    s: torch.Tensor,
    g: torch.Tensor,
    z: torch.Tensor,
    p: torch.Tensor,
    activation: Smooth,
    alpha: float,
    gamma: float,
    steps: int,
    rate: float,
) -> torch.Tensor:
    """s after `steps` of gradient descent on the loss of `update_s`. It diverges where rate * curvature > 2."""
    for _ in range(steps):
        a, slope = activation(s)
        s = s - rate * 2 * (alpha * (s - g) - gamma * slope * z * (p - a * z))
    return s


def smooth(activation: Activation) -> Smooth:
    """A function from x to (act(x), act'(x)), elementwise; in closed form for SiLU, else by differentiation."""
    return _silu if _same(activation, torch.nn.functional.silu) else partial(_dual, activation)


def is_relu(activation: Activation) -> bool:
    """Whether `activation` is max(x, 0)."""
    return _same(activation, torch.relu)


def _same(first: Activation, second: Activation) -> bool:
    probe = torch.linspace(-6, 6, 64)
    return torch.equal(first(probe), second(probe))


def _silu(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logistic = torch.sigmoid(x)
    value = x * logistic
    return value, (1 - logistic).mul_(value).add_(logistic)


def _dual(activation: Activation, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    both: Any = torch.func.jvp(activation, (x,), (torch.ones_like(x),))
    value, slope = both
    return value, slope


def _where(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """1.0 where `first` <= `second`, else 0.0: a selection by booleans takes ten times as long on the CPU."""
    return torch.le(first, second, out=torch.empty_like(first))
