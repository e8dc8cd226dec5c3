"""A small language for importance scores: nested calls such as `mul(abs(mul(W, W)), mms(G))`.

The matrices are called W, G and X; the operations are those that Pruner-Zero searched over (Dong et al. 2024).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prunebench.lazy import torch
from prunebench.registry import did_you_mean

MATRICES = ("W", "G", "X")
FLOOR = 1e-3
"""The number added to |x| in log|x|, as in the published code: gradients and weights may be exactly 0."""
CEILING = 100.0
"""The largest argument of exp; larger ones are cut to it, as in the published code."""
DEPTH = 32
"""The greatest number of calls inside each other."""


@dataclass(frozen=True)
class Node:
    """A matrix, or an operation with its operands. `str` writes it in the language."""

    name: str
    operands: tuple[Node, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.operands))})" if self.operands else self.name

    @property
    def matrices(self) -> frozenset[str]:
        """The names of the matrices in this expression."""
        return frozenset({self.name}) if not self.operands else frozenset().union(*(n.matrices for n in self.operands))


def evaluate(node: Node, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The value of `node`; `values` maps each of its matrices to a tensor, all of one shape and dtype.

    Undefined results, such as a quotient by 0, are NaN or infinity.
    """
    if not node.operands:
        return values[node.name]
    return OPERATIONS[node.name](*(evaluate(operand, values) for operand in node.operands))


def min_max(x: torch.Tensor) -> torch.Tensor:
    """(x - min x) / (max x - min x) over the whole matrix; 0 if all elements are equal."""
    low, high = x.aminmax()
    return 0 * x if low == high else (x - low) / (high - low)  # infinity is no number: 0 * x is NaN


def z_score(x: torch.Tensor) -> torch.Tensor:
    """(x - mean x) / std x over the whole matrix, with the population's std; 0 if all elements are equal."""
    low, high = x.aminmax()
    return 0 * x if low == high else (x - x.mean()) / x.std(correction=0)


UNARY: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sqr": lambda x: x * x,
    "neg": lambda x: -x,
    "abs": lambda x: x.abs(),
    "log": lambda x: (x.abs() + FLOOR).log(),
    "exp": lambda x: x.clamp(max=CEILING).exp(),
    "sqrt": lambda x: x.abs().sqrt(),
    "tanh": lambda x: x.tanh(),
    "pow": lambda x: x * x,
    "skp": lambda x: x,
    "mms": min_max,
    "zsn": z_score,
}
BINARY: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
}
OPERATIONS: dict[str, Callable[..., torch.Tensor]] = {**UNARY, **BINARY}


def parse(text: str) -> Node:
    """Parse `text`; spaces do not matter. Raises ValueError, which says what is wrong, where, and the nearest name."""
    words = [(match[0], match.start() + 1) for match in re.finditer(r"\w+|\S", text)]
    node, rest = _node([*words, ("", len(text) + 1)], 0, 0)
    if rest < len(words):
        word, place = words[rest]
        raise ValueError(f"expected the end at character {place}, found {word!r}")
    return node


_Words = list[tuple[str, int]]
"""Each word or other character with its position, counted from 1; the last one is empty."""


def _node(words: _Words, at: int, depth: int) -> tuple[Node, int]:
    """The node that starts at word `at`, and the index of the word after it."""
    name, place = words[at]
    if name in MATRICES:
        return Node(name), at + 1
    if name not in OPERATIONS:
        raise ValueError(_unknown(name, place, called=words[at + 1 : at + 2] != [] and words[at + 1][0] == "("))
    if depth == DEPTH:
        raise ValueError(f"more than {DEPTH} operations inside each other at character {place}")
    count = 1 if name in UNARY else 2
    operands = []
    for mark in ("(", ",")[:count]:
        at = _expect(mark, name, words, at + 1 if mark == "(" else at)
        operand, at = _node(words, at, depth + 1)
        operands.append(operand)
    return Node(name, tuple(operands)), _expect(")", name, words, at)


def _expect(mark: str, operation: str, words: _Words, at: int) -> int:
    """The index of the word after `at`. Raises ValueError if the word at `at` is not `mark`."""
    word, place = words[at]
    if word != mark:
        takes = "1 operand" if operation in UNARY else "2 operands"
        text = repr(word) if word else "the end"
        raise ValueError(f"{operation!r} takes {takes}: expected {mark!r} at character {place}, found {text}")
    return at + 1


def _unknown(word: str, place: int, *, called: bool) -> str:
    if not re.fullmatch(r"\w+", word):
        return f"expected an operation or a matrix at character {place}, found {repr(word) if word else 'the end'}"
    kind, known = ("operation", OPERATIONS) if called else ("name", {*MATRICES, *OPERATIONS})
    return f"unknown {kind} {word!r} at character {place}{did_you_mean(word, known)}"
