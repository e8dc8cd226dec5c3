"""The plain version of SparseLLM on one gated block, written straight from the formulas, as plain.py is.

Everything in memory and float32: pseudo-inverses by SVD, a Hessian for every linear by itself, summed sample by sample,
gradient steps for s. Tokens are columns, as in the paper. It is fixed, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from benches.plain import SparseGpt

ALPHA = BETA = GAMMA = 5.0
S_STEPS, S_RATE, S_CHUNK = 2, 0.01, 1000


def _into(tensors: list[Tensor], of: Callable[[tuple[Tensor], Tensor], Tensor]) -> Callable[..., None]:
    return lambda _, inputs, output: tensors.append(of(inputs, output).flatten(0, -2))


@torch.no_grad()
def prune_block(block: Any, hidden: list[tuple[Tensor, dict[str, Any]]], sparsity: float, epochs: int) -> float:
    """Prune a LLaMA block in place; returns the FFN's reconstruction loss ||Y - FFN(X)||^2 / ||Y||^2."""
    linears = {name: module for name, module in block.named_modules() if isinstance(module, nn.Linear)}
    up, gate, down = (linears.pop(f"mlp.{part}_proj") for part in ("up", "gate", "down"))
    pruners = {linear: SparseGpt(linear) for linear in (*linears.values(), up, gate, down)}
    seen: dict[str, list[Tensor]] = {name: [] for name in "XYzsp"}
    hooks = [
        up.register_forward_hook(_into(seen["X"], lambda inputs, _: inputs[0])),
        up.register_forward_hook(_into(seen["z"], lambda _, output: output)),
        gate.register_forward_hook(_into(seen["s"], lambda _, output: output)),
        down.register_forward_hook(_into(seen["p"], lambda inputs, _: inputs[0])),
        down.register_forward_hook(_into(seen["Y"], lambda _, output: output)),
        *(
            linear.register_forward_pre_hook(lambda _, inputs, pruner=pruner: pruner.add(inputs[0].flatten(0, -2)))
            for linear, pruner in pruners.items()
        ),
    ]
    for states, kwargs in hidden:
        block(states, **kwargs)
    for hook in hooks:
        hook.remove()
    X, Y, z, s, p = (torch.cat(seen.pop(name)).T for name in "XYzsp")
    for linear in linears.values():
        pruners[linear].prune(sparsity)
    X_plus = torch.linalg.pinv(X)
    for epoch in range(epochs):
        if epoch:
            up.weight.copy_(z @ X_plus)
            gate.weight.copy_(s @ X_plus)
            down.weight.copy_(Y @ torch.linalg.pinv(p))
            pruners[down] = SparseGpt(down)
            for sample in p.T.chunk(len(hidden)):
                pruners[down].add(sample)
        for linear in (up, gate, down):
            pruners[linear].prune(sparsity)
        W = down.weight
        p = torch.inverse(BETA * W.T @ W + GAMMA * torch.eye(W.shape[1])) @ (BETA * W.T @ Y + GAMMA * silu(s) * z)
        z = (ALPHA * up.weight @ X + GAMMA * silu(s) * p) / (ALPHA + GAMMA * silu(s) ** 2)
        for start in range(0, s.shape[1], S_CHUNK):
            part = slice(start, start + S_CHUNK)
            s[:, part] = _descend(s[:, part], gate.weight @ X[:, part], z[:, part], p[:, part])
    missed = Y - down.weight @ (silu(gate.weight @ X) * (up.weight @ X))
    return float(missed.square().sum() / Y.square().sum())


@torch.enable_grad()
def _descend(s: Tensor, g: Tensor, z: Tensor, p: Tensor) -> Tensor:
    """Take gradient steps on alpha ||s - g||^2 + gamma ||p - silu(s) z||^2."""
    for _ in range(S_STEPS):
        s = s.detach().requires_grad_()
        loss = ALPHA * (s - g).square().sum() + GAMMA * (p - silu(s) * z).square().sum()
        s = s - S_RATE * torch.autograd.grad(loss, s)[0]
    return s.detach()
