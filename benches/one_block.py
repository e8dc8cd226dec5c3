"""The jobs of block.py: SparseLLM on one block of a model, plain or ours; JSON says what that block alone cost."""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benches import plain, plain_sparsellm
from prunebench import registry
from prunebench.engine.activations import advance, embed
from prunebench.engine.block import BlockView
from prunebench.engine.model import StreamedModel
from prunebench.methods.sparsellm import SparseLLM
from prunebench.patterns import UNSTRUCTURED
from prunebench.storage.files import write_json

BATCH = 8
Record = dict[str, Any]


class Cost:
    """Seconds, CPU seconds, and anonymous memory: at the start, and the peak beyond it.

    Anonymous memory is what the kernel cannot drop, unlike the pages of files. Looked at a hundred times a second.
    """

    def __init__(self) -> None:
        self._start = _anonymous_mb()
        self._peak, self._done = self._start, threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        self._seconds, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> Record:
        """Collect the measured numbers."""
        seconds, cpu = time.perf_counter() - self._seconds, time.process_time() - self._cpu
        self._done.set()
        self._watch.join()
        return {
            "seconds": round(seconds, 3),
            "cpu_seconds": round(cpu, 3),
            "memory_before_mb": round(self._start, 1),
            "peak_memory_mb": round(self._peak - self._start, 1),
        }

    def _look(self) -> None:
        while not self._done.wait(0.01):
            self._peak = max(self._peak, _anonymous_mb())


def _anonymous_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def run_plain(options: argparse.Namespace, tokens: torch.Tensor) -> tuple[Record, dict[str, torch.Tensor]]:
    """Run the plain version; returns its cost and reconstruction loss, and its weights by linear."""
    model = plain.load(options.model)
    with torch.no_grad():
        hidden = list(plain.first_inputs(model, tokens))
        for block in model.model.layers[: options.block]:
            hidden = [(block(states, **kwargs), kwargs) for states, kwargs in hidden]
    block = model.model.layers[options.block]
    cost = Cost()
    loss = plain_sparsellm.prune_block(block, hidden, options.sparsity, options.epochs)
    record = cost.stop() | {"reconstruction": loss}
    linears = (name for name, module in block.named_modules() if isinstance(module, torch.nn.Linear))
    return record, {name: block.get_submodule(name).weight for name in linears}


def run_ours(options: argparse.Namespace, tokens: torch.Tensor) -> tuple[Record, dict[str, torch.Tensor]]:
    """Run our version; returns its cost and reconstruction loss, and its weights by linear."""
    family, dtype = registry.load("models", options.family), getattr(torch, options.dtype)
    model = StreamedModel(options.model, family, dtype=dtype, storage=torch.bfloat16, device="cpu")
    activations = embed(model, tokens, BATCH)
    for index in range(options.block):
        with model.block(index) as module:
            advance(activations, module, index)
    method = SparseLLM(SparseLLM.configure(overrides={"epochs": options.epochs, **json.loads(options.params)}))
    with tempfile.TemporaryDirectory() as scratch, model.block(options.block) as module:
        view = BlockView(module, options.block, activations, model=model, scratch=Path(scratch))
        cost = Cost()
        statistics = view.statistics(method.needs, [site.name for site in view.sites])
        allocation = dict.fromkeys(view.full_names, options.sparsity)
        result = method.prune_block(view, statistics, allocation, UNSTRUCTURED)
        record = cost.stop()
    record["reconstruction"] = result.record["epochs"][result.record["kept"] - 1]["reconstruction"]
    return record, {linear: entry.weight for linear, entry in result.linears.items()}


VERSIONS = {"plain": run_plain, "ours": run_ours}


def main() -> None:
    """Run one version and write what it cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", choices=VERSIONS)
    for name in ("model", "tokens", "weights", "result"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--family", default="llama")
    parser.add_argument("--samples", type=int, required=True, help="the first of the tokens")
    parser.add_argument("--block", type=int, required=True)
    parser.add_argument("--sparsity", type=float, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--dtype", default="float32", help="of ours")
    parser.add_argument("--params", default="{}", help="of ours, as JSON")
    options = parser.parse_args()
    tokens = torch.from_numpy(np.load(options.tokens))[: options.samples]
    record, weights = VERSIONS[options.version](options, tokens)
    masks = {linear: (weight == 0).to(torch.uint8).contiguous() for linear, weight in weights.items()}
    save_file(masks, options.weights)
    write_json(options.result, record)


if __name__ == "__main__":
    main()
