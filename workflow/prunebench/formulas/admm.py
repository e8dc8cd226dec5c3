"""Layer-wise least squares with few weights, by the alternating direction method of multipliers (ADMM).

For a linear with weights W [out, in] and inputs X [in, tokens], the functions look for V with zeros that makes
||V X - W X||^2 + lambda ||V - W||^2 small. They work on scaled weights: E holds the norms of the inputs, A is X X^T
divided by the norms on both sides, and W stands for W E. All functions compute in the dtype of their arguments.
"""

from __future__ import annotations

from collections.abc import Callable

from prunebench.errors import CellFailure
from prunebench.formulas import masks
from prunebench.lazy import torch
from prunebench.patterns import Pattern

LEAST = 1e-8
"""The least norm of an input, as a fraction of the largest, so that nothing is divided by zero."""
SAMPLED = 8
"""A threshold that need not be exact comes from every eighth row."""
EVERY, PATIENCE = 3, 30
"""ALPS looks at its mask in every third step; before step 30 it ends only if the mask has not changed at all."""
RISES = ((0.1, 1.3), (0.005, 1.2), (0.0, 1.1))
"""How ALPS raises rho: by the second number if more than the first, as a fraction of the kept weights, has changed."""


def normalised(gram: torch.Tensor, damping: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale G = `gram` [in, in], damped by `damping` * mean(diag G), to a unit diagonal: A [in, in], and norms [in].

    Inputs that were always 0 have the norm LEAST and a diagonal of 0 if there is no damping. If G is 0, all norms are
    1. All is in the dtype of `gram`.
    """
    damped = gram.clone()
    damped.diagonal().add_(damping * gram.diagonal().mean())
    norms = damped.diagonal().sqrt()
    largest = norms.max()
    norms = norms.clamp_min(LEAST * largest) if largest else torch.ones_like(norms)
    return damped.div_(norms[:, None]).div_(norms), norms


def lowest(
    values: torch.Tensor,
    part: float = 1.0,
    *,
    zeros: torch.Tensor,
    sparsity: float,
    pattern: Pattern,
    scope: masks.Scope,
) -> torch.Tensor:
    """Mask [out, in] of the places where a weight goes: the smallest |`values`| [out, in].

    All of `zeros`, boolean [out, in], go, and they count. Of the weights that `sparsity` or `pattern` takes, only the
    fraction `part` goes. Raises CellFailure if a value is not finite.
    """
    scores = values.abs()
    if not pattern.structured:
        return masks.prune_mask(scores, ~zeros, part * sparsity, pattern, scope=scope) | zeros
    gone = masks.prune_mask(scores, ~zeros, sparsity, pattern, scope=scope)
    if part < 1:
        count = masks.pruned_count(int(gone.sum()), part)
        ranked = scores.masked_fill_(zeros, -torch.inf).masked_fill_(~gone, torch.inf)
        gone = masks.lowest(ranked.reshape(1, -1), count).reshape(gone.shape)
    return gone | zeros


def about_lowest(values: torch.Tensor, share: float, copies: int = 1) -> torch.Tensor:
    """Mask [out, in] of about the fraction `share` of smallest |`values`| [out, in], by a sample of the rows.

    `values` are `copies` matrices below each other, and each has a threshold of its own.
    """
    scores = values.abs().view(copies, -1, values.shape[1])
    sample = scores[:, ::SAMPLED].reshape(copies, -1)
    count = masks.pruned_count(sample.shape[1], share)
    if not count:
        return torch.zeros_like(values, dtype=torch.bool)
    return (scores <= masks.kth_smallest(sample, count)[:, :, None]).view_as(values)


def inverse(A: torch.Tensor, rho: float) -> torch.Tensor:
    """(A + rho I)^-1 [in, in], by Cholesky. Raises CellFailure if the sum is not positive definite."""
    shifted = A.clone()
    shifted.diagonal().add_(rho)
    factor, failed = torch.linalg.cholesky_ex(shifted)
    if failed:
        raise CellFailure(f"the Gram matrix of {len(A)} inputs is not positive definite with a penalty of {rho}")
    return torch.cholesky_inverse(factor)


def gradual(
    W: torch.Tensor,
    target: torch.Tensor,
    inverse: torch.Tensor,
    select: Callable[[torch.Tensor, float], torch.Tensor],
    *,
    rho: float,
    steps: int,
    ramp: int,
    cubic: bool = True,
) -> torch.Tensor:
    """Prune W [out, in] gradually (Boza 2024, algorithm 3): in the first `ramp` of `steps` steps a mask is chosen.

    `target` is Y X^T [out, in] for the outputs Y that V should have: W A, if they are W's own. `inverse` is
    (A + rho I)^-1; products are computed in its dtype. `select(values, part)` gives the mask, boolean [out, in], of the
    weights that go, or of the fraction `part` of them. Step i takes the fraction 1 - (1 - i / ramp)^3 if `cubic`, else
    all. A step is

        Z = (W + U) M,   U = U + W - Z,   W = (target + rho (Z - U)) (A + rho I)^-1

    where M is 0 where a weight goes.
    """
    U = torch.zeros_like(W)
    for step in range(1, steps + 1):
        W = W + U
        if step <= ramp:
            gone = select(W, 1 - (1 - step / ramp) ** 3 if cubic else 1.0)
            stays = (~gone).to(W.dtype)  # a product takes a fraction of the time of masked_fill
        Z = W * stays
        U = W - Z
        W = (Z.sub_(U).mul_(rho).add_(target).to(inverse.dtype) @ inverse).to(U.dtype)
    return (W + U).masked_fill_(gone, 0)


def search_support(
    W: torch.Tensor,
    A: torch.Tensor,
    spectrum: tuple[torch.Tensor, torch.Tensor],
    select: Callable[[torch.Tensor], torch.Tensor],
    *,
    rho: float,
    steps: int,
    settled: float,
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Find which weights of W [out, in] stay, under a penalty rho that rises until they do not change.

    `spectrum` are the eigenvalues M [in] and eigenvectors Q [in, in] of A = Q M Q^T. `select(values)` gives the mask,
    boolean [out, in], of the weights that go. A step of algorithm 1 (Meng et al. 2024) is

        B = (W A - V + rho D) Q (M + rho I)^-1 Q^T,   D = (B + V / rho) N,   V = V + rho (B - D)

    where N is 0 where a weight goes. After every third step rho rises by RISES. The search ends when the mask has not
    changed since then, from step PATIENCE on when no more than the fraction `settled` of the kept weights has, or after
    `steps`. Returns B without the weights that go, their mask, and the number of steps.
    """
    M, Q = spectrum
    target = W @ A
    before = select(W)
    kept = max(1, before.numel() - int(before.sum()))
    B, D, V = W, W.masked_fill(before, 0), torch.zeros_like(W)
    solve = (Q / (M + rho)) @ Q.T
    for step in range(1, steps + 1):
        B = (target - V + rho * D) @ solve
        D = B + V / rho
        gone = select(D)
        D.masked_fill_(gone, 0)
        V += rho * (B - D)
        if step % EVERY:
            continue
        changed = int((gone != before).sum()) / kept
        if not changed or (step >= PATIENCE and changed <= settled):
            break
        before = gone
        rho *= next(factor for least, factor in RISES if changed > least)
        solve = (Q / (M + rho)) @ Q.T
    gone = select(B)
    return B.masked_fill(gone, 0), gone, step


def refine(W: torch.Tensor, target: torch.Tensor, A: torch.Tensor, gone: torch.Tensor, steps: int) -> torch.Tensor:
    """Take `steps` steps of conjugate gradients from W [out, in] to the solution of V A = `target` [out, in].

    V is 0 in `gone`, boolean [out, in]; so are the residuals. Each row is a problem of its own. A [in, in] should have
    a unit diagonal, as after `normalised`: that is the preconditioner diag(A) of Meng et al. 2024, algorithm 2. A row
    whose residual has become rounding does not change any more.
    """
    V = W.masked_fill(gone, 0)
    R = (target - V @ A).masked_fill_(gone, 0)
    P = R.clone()
    squared = R.square().sum(dim=1, keepdim=True)
    rounding = target.square().sum(dim=1, keepdim=True) * torch.finfo(W.dtype).eps ** 2
    for _ in range(steps):
        image = (P @ A).masked_fill_(gone, 0)
        curvature = (P * image).sum(dim=1, keepdim=True)
        going = (squared > rounding) & (curvature > 0)
        length = torch.where(going, squared / curvature, 0)
        V += length * P
        R -= length * image
        after = R.square().sum(dim=1, keepdim=True)
        P = R + torch.where(going, after / squared, 0) * P
        squared = after
    return V
