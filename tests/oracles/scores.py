"""Scores of RIA and of Pruner-Zero's formulas, element by element and in numpy."""

import ast
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def ria(weight: Matrix, inputs: Matrix, power: float) -> Matrix:
    """(|W_ij| / sum_k |W_ik| + |W_ij| / sum_k |W_kj|) * ||x_j||_2^power for inputs [tokens, in]; 0 / 0 is 0."""
    scores = np.empty_like(weight)
    for i, row in enumerate(weight):
        for j, value in enumerate(row):
            totals = [math.fsum(np.abs(row)), math.fsum(np.abs(weight[:, j]))]
            relative = math.fsum(abs(value) / total if total else 0.0 for total in totals)
            scores[i, j] = relative * math.sqrt(math.fsum(x * x for x in inputs[:, j])) ** power
    return scores


def pruner_zero(weight: Matrix, gradient: Matrix) -> Matrix:
    """|W_ij W_ij| (G_ij - min G) / (max G - min G)."""
    low, high = gradient.min(), gradient.max()
    return np.abs(weight * weight) * ((gradient - low) / (high - low))


def _min_max(x: Matrix) -> Matrix:
    low, high = np.min(x), np.max(x)
    return 0 * x if low == high else (x - low) / (high - low)


def _z_score(x: Matrix) -> Matrix:
    return 0 * x if np.min(x) == np.max(x) else (x - np.mean(x)) / np.sqrt(np.mean((x - np.mean(x)) ** 2))


FUNCTIONS = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "sqr": np.square,
    "pow": lambda x: np.power(x, 2),
    "neg": np.negative,
    "abs": np.abs,
    "log": lambda x: np.log(np.abs(x) + 0.001),
    "exp": lambda x: np.exp(np.minimum(x, 100)),
    "sqrt": lambda x: np.sqrt(np.abs(x)),
    "tanh": np.tanh,
    "skp": lambda x: x,
    "mms": _min_max,
    "zsn": _z_score,
}


def formula(text: str, matrices: Mapping[str, Matrix]) -> Matrix:
    """The value of a formula, read as Python."""

    def value(node: ast.expr) -> Matrix:
        if isinstance(node, ast.Name):
            return matrices[node.id]
        assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        return np.asarray(FUNCTIONS[node.func.id](*map(value, node.args)))

    with np.errstate(all="ignore"):
        return value(ast.parse(text, mode="eval").body)
