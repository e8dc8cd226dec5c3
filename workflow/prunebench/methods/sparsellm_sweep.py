"""SparseLLM's auxiliary variables over all calibration tokens: one pass per epoch, a slab of tokens at a time.

Memory holds one slab, whatever the number of tokens; `Spill` holds the tensors that last from one epoch to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf

import torch
from torch import Tensor

from prunebench.engine.block import BlockView
from prunebench.engine.placement.spill import Spill
from prunebench.engine.products import product
from prunebench.engine.statistics import add_gram
from prunebench.methods import sparsellm_updates as updates

SLAB = 4096
"""The number of tokens of a slab."""
PIECE = 1 << 16
"""The number of elements that the CPU computes elementwise at a time, so that they stay in its cache."""

SStep = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""A function from s, g, z and p to the updated s."""


@dataclass(frozen=True)
class Linear:
    """The weight [out, in] of a linear in the dtype of its storage, and its bias [out]."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        """Compute W x + b for rows x [n, in], in float32 or better."""
        out = product(x, self.weight.T, x.dtype)
        return out if self.bias is None else out.add_(self.bias)


@dataclass(frozen=True)
class FfnWeights:
    """The current weights of a block's FFN."""

    up: Linear
    down: Linear
    gate: Linear | None
    activation: updates.Activation

    @classmethod
    def of(cls, block: BlockView) -> FfnWeights:
        """The weights that are installed in `block`."""
        roles = block.ffn
        up, down, gate = (
            Linear(block.weight(linear), block.bias(linear)) if linear else None
            for linear in (roles.up, roles.down, roles.gate)
        )
        assert up and down
        return cls(up, down, gate, block.activation)

    def middle(self, z: Tensor, s: Tensor | None) -> Tensor:
        """The input of the down projection for the pre-activations z and, if gated, s: act(s) z, or act(z)."""
        return self.activation(z) if s is None else self.activation(s).mul_(z)


@dataclass(frozen=True)
class Penalties:
    """The weights of the objective's terms, and how s is updated."""

    alpha: float
    beta: float
    gamma: float
    s_step: SStep
    solve_dtype: torch.dtype
    """The dtype of the system whose solution is p."""


@dataclass
class Losses:
    """The losses of one pass, summed over all tokens."""

    terms: dict[str, float] = field(default_factory=dict)
    """The weighted terms of the objective after the updates, by name."""
    reconstruction: float = 0.0
    """||Y - FFN(X)||^2 / ||Y - b||^2 with the pruned weights, b being the bias of the down projection."""


@dataclass
class Products:
    """The sums that the next least-squares problems need, float64; X holds the FFN's inputs."""

    up: Tensor
    """(z - W_up X - b) X^T [ffn, hidden]"""
    gate: Tensor | None
    """(s - W_gate X - b) X^T [ffn, hidden]"""
    down: Tensor
    """(Y - b) p^T [hidden, ffn]"""
    gram: Tensor
    """p p^T [ffn, ffn], its lower triangle"""

    @classmethod
    def zeros(cls, ffn: FfnWeights) -> Products:
        """Zeros of the shapes that belong to `ffn`."""
        up, down, gate = ffn.up.weight, ffn.down.weight, ffn.gate
        width = down.shape[1]
        return cls(
            torch.zeros_like(up, dtype=torch.float64),
            None if gate is None else torch.zeros_like(gate.weight, dtype=torch.float64),
            torch.zeros_like(down, dtype=torch.float64),
            down.new_zeros(width, width, dtype=torch.float64),
        )


class Auxiliaries:
    """X and Y of a block's FFN and the variables z and s, with a row for each calibration token."""

    def __init__(self, block: BlockView, spill: Spill) -> None:
        """Run the block once; z and s start at the values that its current weights give."""
        ffn, roles = FfnWeights.of(block), block.ffn
        inputs, outputs = f"{roles.up}.in", f"{roles.down}.out"
        end = 0
        for values in block.stream([inputs, outputs]):
            x, y = values[inputs], values[outputs]
            z, s = ffn.up(x), ffn.gate(x) if ffn.gate else None
            if not end:
                self.x, self.y, self.z = (spill.empty(block.tokens, t.shape[1], t.dtype) for t in (x, y, z))
                self.s = None if s is None else spill.empty(block.tokens, s.shape[1], s.dtype)
            start, end = end, end + len(x)
            self.x[start:end], self.y[start:end], self.z[start:end] = x, y, z
            if self.s is not None and s is not None:
                self.s[start:end] = s
        self._device = x.device

    def sweep(self, ffn: FfnWeights, penalties: Penalties, sums: Products | None) -> Losses:
        """Update p, then z, then s for the weights `ffn`, and add to `sums`; without `sums`, z and s do not change.

        p is not kept, as the next pass computes it anew. Returns the losses of the pass.
        """
        ratio = penalties.gamma / penalties.beta
        solver = updates.output_solver(ffn.down.weight.to(penalties.solve_dtype), ratio)
        totals: dict[str, Tensor] = {}
        for low in range(0, len(self.x), SLAB):
            rows = slice(low, low + SLAB)
            x, y = self.x[rows].to(self._device), self.y[rows].to(self._device)
            z = self.z[rows].to(self._device)
            s = None if self.s is None else self.s[rows].to(self._device)
            # float16 has too little range for tensors other than activations.
            bits = torch.bfloat16 if x.dtype == torch.bfloat16 else self.z.dtype
            m, g = ffn.up(x), ffn.gate(x) if ffn.gate else None
            target = y.to(m.dtype) if ffn.down.bias is None else y - ffn.down.bias.to(m.dtype)
            down = ffn.down.weight
            missing = target - product(ffn.middle(m, g), down.T, bits)
            _add(totals, "reconstruction", missing)
            _add(totals, "output", target)
            r = ffn.middle(z, s)
            u = (target - product(r, down.T, bits)) @ solver.to(m.dtype)
            p = r.add_(product(u, down, bits))
            _add(totals, "down", u)
            if sums is None:
                # Losses for the record are computed on copies: the variables must not change.
                z, s = z.clone(), None if s is None else s.clone()
            for part in _pieces(m):
                gate = None if s is None or g is None else (g[part], s[part])
                _relax(m[part], z[part], p[part], gate, ffn.activation, penalties, totals)
            if sums is None:
                continue
            self.z[rows] = z
            sums.up += product(m.sub_(z).neg_().T, x, bits)
            if self.s is not None and sums.gate is not None and s is not None and g is not None:
                self.s[rows] = s
                sums.gate += product(g.sub_(s).neg_().T, x, bits)
            p = p.to(bits)
            sums.down += product(target.T, p, bits)
            add_gram(sums.gram, p)
        return _losses(totals, penalties, ratio)


def _relax(
    m: Tensor,
    z: Tensor,
    p: Tensor,
    gate: tuple[Tensor, Tensor] | None,
    activation: updates.Activation,
    penalties: Penalties,
    totals: dict[str, Tensor],
) -> None:
    """Update z, then s of `gate` = (g, s), in place and elementwise, for one piece; add its losses to `totals`."""
    if gate is None:
        z.copy_(updates.update_z_relu(m, p, penalties.alpha, penalties.gamma))
        r = activation(z)
    else:
        g, s = gate
        z.copy_(updates.update_z(m, activation(s), p, penalties.alpha, penalties.gamma))
        s.copy_(penalties.s_step(s, g, z, p))
        r = activation(s).mul_(z)
        _add(totals, "gate", s - g)
    _add(totals, "up", z - m)
    _add(totals, "activation", p - r)


def _losses(totals: dict[str, Tensor], penalties: Penalties, ratio: float) -> Losses:
    # With r = act(s) z and p = r + W^T u the residual Y - b - W p is ratio * u, but for the rounding of products.
    weights = {
        "up": penalties.alpha,
        "gate": penalties.alpha,
        "down": penalties.beta * ratio**2,
        "activation": penalties.gamma,
    }
    terms = {term: weight * float(totals[term]) for term, weight in weights.items() if term in totals}
    missed, whole = float(totals["reconstruction"]), float(totals["output"])
    return Losses(terms, missed / whole if whole else inf if missed else 0.0)


def _pieces(rows: Tensor) -> Iterator[slice]:
    step = max(1, PIECE // rows.shape[1]) if rows.device.type == "cpu" else len(rows)
    for low in range(0, len(rows), step):
        yield slice(low, low + step)


def _add(totals: dict[str, Tensor], term: str, values: Tensor) -> None:
    """Add the squared norm of `values` to the total of `term`."""
    flat = values.flatten()
    total = torch.dot(flat, flat).double()
    totals[term] = totals[term] + total if term in totals else total
