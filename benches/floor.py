"""The counted floor: floating-point operations of matrix products, over the rate at which this machine does them.

Only what the formulas cannot do without is counted. Norms, softmax, activation functions, sorting, reading and writing
are not: the time that they take is what separates a good implementation from its floor.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from prunebench import registry
from prunebench.engine.anatomy import linear_sizes
from prunebench.engine.placement.memory import keep_freed_pages
from prunebench.estimate.operations import DTYPES, Sizes
from prunebench.models.base import Family
from prunebench.storage.files import read_json, write_json


def read_sizes(directory: Path, family: type[Family]) -> Sizes:
    """Read the sizes of the model in `directory`."""
    shapes = linear_sizes(directory, family)
    linears = {linear: shapes[family.full_name(0, linear)] for linear in family.linears()}
    config = read_json(directory / "config.json")
    return Sizes(
        blocks=len(shapes) // len(linears),
        linears=linears,
        sites=tuple(linears[site.linears[0]][1] for site in family.sites),
        attention=linears[family.sites[1].linears[0]][1],
        hidden=config["hidden_size"],
        vocabulary=config["vocab_size"],
    )


def matmul_rate(sizes: Sizes, tokens: int, dtype: str, *, device: str = "cpu", repeats: int = 5) -> float:
    """Measure operations per second over the products of one block's linears with `tokens` rows, at the fastest."""
    total, spent = 0.0, 0.0
    for out, width in sizes.linears.values():
        x = torch.randn(tokens, width, device=device).to(getattr(torch, dtype))
        weight = torch.randn(out, width, device=device).to(x.dtype)
        total += 2 * tokens * out * width
        spent += min(_time(x, weight) for _ in range(repeats))
    return total / spent


def _time(x: torch.Tensor, weight: torch.Tensor) -> float:
    _finish(x.device)
    start = time.perf_counter()
    torch.nn.functional.linear(x, weight)
    _finish(x.device)
    return time.perf_counter() - start


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    """Measure the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a from_pretrained directory")
    parser.add_argument("--family", default="llama")
    parser.add_argument("--tokens", type=int, default=4096, help="rows of the products: tokens of a batch")
    parser.add_argument("--result", type=Path, required=True, help="JSON: operations per second by dtype")
    arguments = parser.parse_args()
    sizes = read_sizes(arguments.model, registry.load("models", arguments.family))
    keep_freed_pages()  # as the engine does: otherwise new pages are timed too
    write_json(arguments.result, {dtype: matmul_rate(sizes, arguments.tokens, dtype) for dtype in DTYPES})


if __name__ == "__main__":
    main()
