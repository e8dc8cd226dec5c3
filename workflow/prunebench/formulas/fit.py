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


def error(change: torch.Tensor, gram: torch.Tensor, missing: torch.Tensor) -> float:
    """|P X - Y|^2 - |W X - Y|^2 for the change P - W [out, in] of the weights: negative if P is nearer to Y.

    `gram` is X X^T [in, in] and `missing` is C [out, in].
    """
    return float(((change @ gram - 2 * missing) * change).sum())


def on_support(
    weight: torch.Tensor, target: torch.Tensor, hessian: torch.Tensor, kept: torch.Tensor, steps: int
) -> torch.Tensor:
    """P [out, in] with the least tr (P - V) H (P - V)^T among matrices that are 0 where `kept` is not.

    It takes `steps` of conjugate gradients from `weight` [out, in], which is 0 there too. Rows are problems of their
    own, and the preconditioner is the diagonal. `target` is V [out, in], `hessian` is H [in, in], and `kept` is boolean
    [out, in]; all others are of one dtype. The error does not grow from step to step.
    """
    scale = hessian.diagonal().clamp(min=torch.finfo(hessian.dtype).tiny)
    residual = ((target - weight) @ hessian).mul_(kept)
    solution, direction = weight.clone(), torch.zeros_like(weight)
    before: torch.Tensor | None = None
    for _ in range(steps):
        step = residual / scale
        size = (residual * step).sum(dim=1, keepdim=True)
        direction = step if before is None else step.add_(direction * (size / before.clamp(min=_tiny(size))))
        turned = (direction @ hessian).mul_(kept)
        length = size / (direction * turned).sum(dim=1, keepdim=True).clamp(min=_tiny(size))
        solution += direction * length
        residual -= turned * length
        before = size
    return solution


def _tiny(values: torch.Tensor) -> float:
    return float(torch.finfo(values.dtype).tiny)
