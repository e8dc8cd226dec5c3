"""Least squares for one matrix whose inputs are damaged: the fit to the dense model's outputs, and on a given support.

X [in, n] holds the inputs of a linear in the pruned model, and Y [out, n] the outputs that it should have. All matrices
here are sums over the n tokens: H = X X^T + r I [in, in], and C = (Y - W X) X^T [out, in], the `missing` products.
"""

from __future__ import annotations

from prunebench.lazy import torch


def correction(missing: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
    """C H^-1 for `missing` = C [k, in] and U [in, in] with U^T U = H^-1 (see `obs.inverse_factor`).

    With C = (Y - W X) X^T, the V [out, in] with the least |V X - Y|^2 + r |V - W|^2 is W + C H^-1.
    """
    return missing @ U.T @ U


def error_along(
    start: torch.Tensor, change: torch.Tensor, gram: torch.Tensor, missing: torch.Tensor
) -> tuple[float, float, float]:
    """The coefficients a, b, c of the error of P = W + `start` + t `change`: a t^2 + 2 b t + c.

    The error is |P X - Y|^2 - |W X - Y|^2 on tokens with `gram` = X X^T [in, in] and `missing` = C [out, in]; it is
    negative if P is nearer to Y than W is. `start` and `change` are [out, in].
    """
    turned, residual = change @ gram, start @ gram - missing
    a, b = (turned * change).sum(), (residual * change).sum()
    return float(a), float(b), float(((residual - missing) * start).sum())


def on_support(
    weight: torch.Tensor,
    before: torch.Tensor,
    missing: torch.Tensor,
    hessian: torch.Tensor,
    kept: torch.Tensor,
    steps: int,
) -> torch.Tensor:
    """P [out, in] with the least |P X - Y|^2 + r |P - W|^2 among matrices that are 0 where `kept` is not.

    It takes `steps` of conjugate gradients from `weight` [out, in], which is 0 there too. Rows are problems of their
    own, and the preconditioner is the diagonal. `before` is W and `missing` is C, both [out, in], `hessian` is H
    [in, in], and `kept` is boolean [out, in]. Products are computed in the dtype of `hessian`, and everything else in
    the dtype of `weight`. In one dtype the error does not grow from step to step.
    """
    support = kept.to(weight.dtype)  # a product with booleans takes several times as long

    def gradient(change: torch.Tensor) -> torch.Tensor:
        return (change.to(hessian.dtype) @ hessian).to(weight.dtype)

    scale = hessian.diagonal().to(weight.dtype)
    scale = scale.clamp(min=_tiny(scale))
    residual = gradient(before - weight).add_(missing).mul_(support)
    solution, direction = weight.clone(), torch.zeros_like(weight)
    last: torch.Tensor | None = None
    for _ in range(steps):
        step = residual / scale
        size = (residual * step).sum(dim=1, keepdim=True)
        direction = step if last is None else step.add_(direction * (size / last.clamp(min=_tiny(size))))
        turned = gradient(direction).mul_(support)
        length = size / (direction * turned).sum(dim=1, keepdim=True).clamp(min=_tiny(size))
        solution += direction * length
        residual -= turned * length
        last = size
    return solution


def _tiny(values: torch.Tensor) -> float:
    return float(torch.finfo(values.dtype).tiny)
