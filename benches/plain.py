"""The plain version: pruning and evaluation written straight from the formulas, which ours is compared with.

What a careful researcher's script does first: transformers' model wholly in memory, float32, one sample per forward
pass, every linear with statistics of its own, a Python loop over columns in SparseGPT. It takes its tokens and rows
from the package, and its cost is measured as ours is; nothing is computed by the package.

It is fixed. Do not tune it: numbers in docs/performance.md are ratios to it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from prunebench.assets.corpora import load_split
from prunebench.assets.tasks import load_rows
from prunebench.assets.tokens import cut_windows, load_tokenizer, token_stream
from prunebench.runtime.provenance import Measurement
from prunebench.storage.files import read_json, write_json
from prunebench.suites.harness import stock_task

COLUMNS = 128
"""The number of columns in a block of SparseGPT."""
DAMPING = 0.01


class Pruner(Protocol):
    """A method, as the loop below uses it."""

    def __init__(self, linear: nn.Linear) -> None: ...

    def add(self, x: Tensor) -> None:
        """Add the inputs [tokens, in] of one sample to the statistics."""

    def prune(self, sparsity: float) -> None:
        """Change the linear's weight in place."""


class Wanda:
    """S_ij = |W_ij| ||x_j||_2; the lowest of each row go."""

    def __init__(self, linear: nn.Linear) -> None:
        self.weight = linear.weight.data
        self.squared_norm = torch.zeros(linear.in_features)

    def add(self, x: Tensor) -> None:
        """Sum the squared norms of the input channels."""
        self.squared_norm += x.square().sum(dim=0)

    def prune(self, sparsity: float) -> None:
        """Sort every row's scores and zero the first of them."""
        score = self.weight.abs() * self.squared_norm.sqrt()
        order = torch.sort(score, dim=1, stable=True).indices
        self.weight.scatter_(1, order[:, : int(score.shape[1] * sparsity)], 0)


class SparseGpt:
    """Column by column: drop weights by w^2 / U_jj^2 within strips, repair the columns to the right."""

    def __init__(self, linear: nn.Linear) -> None:
        self.weight = linear.weight.data
        self.hessian = torch.zeros(linear.in_features, linear.in_features)
        self.samples = 0

    def add(self, x: Tensor) -> None:
        """Sum X X^T."""
        self.hessian += x.T @ x
        self.samples += 1

    def prune(self, sparsity: float) -> None:
        """Factorise the inverse of the damped Hessian; prune strip by strip."""
        H, W = self.hessian * (2 / self.samples), self.weight
        dead = H.diag() == 0
        H[dead, dead] = 1
        W[:, dead] = 0
        H += DAMPING * H.diag().mean() * torch.eye(len(H))
        U = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(H)), upper=True)
        for start in range(0, W.shape[1], COLUMNS):
            stop = min(start + COLUMNS, W.shape[1])
            pruned, errors = self._strip(W[:, start:stop].clone(), U[start:stop, start:stop], sparsity)
            W[:, start:stop] = pruned
            W[:, stop:] -= errors @ U[start:stop, stop:]

    @staticmethod
    def _strip(W: Tensor, U: Tensor, sparsity: float) -> tuple[Tensor, Tensor]:
        """Prune the strip W [out, columns]; also returns the errors [out, columns] for the columns to its right."""
        score = W**2 / U.diag() ** 2
        mask = torch.zeros_like(W, dtype=torch.bool)
        mask.view(-1)[score.flatten().sort(stable=True).indices[: int(W.numel() * sparsity)]] = True
        errors = torch.empty_like(W)
        for i in range(W.shape[1]):
            w = W[:, i].clone()
            kept = w.masked_fill(mask[:, i], 0)
            errors[:, i] = (w - kept) / U[i, i]
            W[:, i:] -= errors[:, i, None] * U[i, i:]
            W[:, i] = kept
        return W, errors


METHODS: dict[str, type[Pruner]] = {"wanda": Wanda, "sparsegpt": SparseGpt}


def load(model: Path) -> Any:
    """Load the whole model in float32."""
    return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()


class Caught(Exception):
    """The exception that ends a forward pass when its rest is not needed."""


def first_inputs(model: Any, samples: Tensor) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    """Collect the input of block 0 for each sample: hidden state [1, seqlen, hidden] and keyword arguments."""
    caught: list[tuple[Tensor, dict[str, Any]]] = []

    def catch(_: nn.Module, args: tuple[Tensor], kwargs: dict[str, Any]) -> None:
        caught.append((args[0], kwargs))
        raise Caught

    handle = model.model.layers[0].register_forward_pre_hook(catch, with_kwargs=True)
    for sample in samples:
        try:
            model(sample[None], use_cache=False)
        except Caught:
            yield caught.pop()
    handle.remove()


def _feed(pruner: Pruner) -> Callable[[nn.Module, tuple[Tensor]], None]:
    return lambda _, inputs: pruner.add(inputs[0].flatten(0, -2))


@torch.no_grad()
def prune(model: Any, samples: Tensor, method: type[Pruner], sparsity: float) -> dict[str, Tensor]:
    """Prune every linear of every block of `model`; returns their weights in bfloat16, by name."""
    hidden = list(first_inputs(model, samples))
    weights = {}
    for index, block in enumerate(model.model.layers):
        linears = {name: module for name, module in block.named_modules() if isinstance(module, nn.Linear)}
        pruners = {name: method(linear) for name, linear in linears.items()}
        hooks = [linear.register_forward_pre_hook(_feed(pruners[name])) for name, linear in linears.items()]
        for states, kwargs in hidden:
            block(states, **kwargs)
        for hook in hooks:
            hook.remove()
        for name, linear in linears.items():
            pruners[name].prune(sparsity)
            weights[f"model.layers.{index}.{name}.weight"] = linear.weight.to(torch.bfloat16)
        hidden = [(block(states, **kwargs), kwargs) for states, kwargs in hidden]
    return weights


@torch.no_grad()
def window_losses(model: Any, windows: Tensor) -> list[float]:
    """Compute the mean negative log-likelihood (nats) per predicted token of each window [n, seqlen]."""
    losses = []
    for window in windows:
        logits = model(window[None], use_cache=False).logits[0, :-1]
        losses.append(nn.functional.cross_entropy(logits, window[1:]).item())
    return losses


def test_windows(model: Path, corpus: Path, count: int, seqlen: int) -> Tensor:
    """Cut the first `count` windows of a corpus' test split, as the perplexity suite does."""
    stream = token_stream(load_tokenizer(model), load_split(corpus, "test"), bos=False)
    return torch.from_numpy(cut_windows(stream, seqlen)[:count])


def prune_job(options: argparse.Namespace) -> None:
    """Prune a model and save its weights."""
    samples = torch.from_numpy(np.load(options.tokens))
    save_file(prune(load(options.model), samples, METHODS[options.method], options.sparsity), options.result)


def perplexity_job(options: argparse.Namespace) -> None:
    """Write the window losses of the model as JSON by corpus, with the weights of a checkpoint if one is given."""
    model = load(options.model)
    if options.weights:
        model.load_state_dict(load_file(options.weights), strict=False)
    windows = {
        corpus.name: test_windows(options.model, corpus, options.windows, options.seqlen) for corpus in options.corpora
    }
    write_json(options.result, {corpus: window_losses(model, part) for corpus, part in windows.items()})


def zeroshot_job(options: argparse.Namespace) -> None:
    """Evaluate with lm-eval's own model class, one request at a time; writes accuracies by task, and token counts."""
    model = load(options.model)
    lengths: list[int] = []
    model.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].numel()))
    harness = HFLM(model, tokenizer=load_tokenizer(options.model), batch_size=1)
    stock = read_json(options.data / "tasks.json")
    accuracies = {}
    for task in options.tasks:
        definition = stock_task(task, stock[task][task], load_rows(options.data, task), limit=options.limit)
        evaluated = evaluate(harness, {"tasks": {task: definition}}, bootstrap_iters=0, log_samples=False)
        accuracies[task] = evaluated["results"][task]["acc,none"]
    write_json(options.result, {"acc": accuracies, "tokens": sum(lengths), "sequences": len(lengths)})


JOBS = {"prune": prune_job, "perplexity": perplexity_job, "zeroshot": zeroshot_job}


def main() -> None:
    """Run one job and write what it cost."""
    parser = argparse.ArgumentParser(description="A job of the plain version.")
    parser.add_argument("job", choices=JOBS)
    for name in ("model", "tokens", "weights", "data", "result", "measured"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--method", choices=METHODS)
    parser.add_argument("--sparsity", type=float)
    parser.add_argument("--corpora", type=Path, nargs="+", help="corpus directories")
    parser.add_argument("--windows", type=int, help="of each corpus")
    parser.add_argument("--seqlen", type=int)
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--limit", type=int, help="rows of each task")
    options = parser.parse_args()
    measurement = Measurement()
    JOBS[options.job](options)
    measurement.write(options.measured)


if __name__ == "__main__":
    main()
