"""Blocks of the shape of a 7B LLaMA on CUDA: they fit, one at a time, and how long they take (printed: pytest -s)."""

import time
from pathlib import Path

import pytest
import torch

import tiny
from benches import floor
from prunebench.engine.loop import prune_model
from prunebench.estimate import operations
from prunebench.patterns import UNSTRUCTURED
from prunebench.registry import load
from prunebench.storage.finished_blocks import Scratch
from prunebench.storage.tensors import TensorStore

SAMPLES, SEQLEN, BATCH = 16, 2048, 2
SIZES = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": SEQLEN,
}
BLOCK = 2 * (4 * 4096 * 4096 + 3 * 4096 * 11008)
"""Bytes of a block's linears in bfloat16."""


def prune(directory: Path, method: str, scratch: Path) -> tuple[float, int]:
    """(seconds, peak bytes on the GPU) of pruning half of all weights."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    model = tiny.open_model(directory, dtype=torch.bfloat16)
    sizes = floor.read_sizes(directory, model.family)
    allocation = {
        model.family.full_name(block, linear): 0.5 for block in range(model.blocks) for linear in sizes.linears
    }
    records = prune_model(
        model,
        load("methods", method)(),
        allocation,
        UNSTRUCTURED,
        tiny.tokens(SAMPLES, SEQLEN),
        Scratch(scratch, TensorStore(directory, torch.bfloat16)),
        batch_size=BATCH,
    )
    seconds = time.perf_counter() - start
    for record in records:
        for linear in record["linears"].values():
            assert linear["zeros"] == pytest.approx(linear["weights"] / 2, rel=1e-3)
    return seconds, torch.cuda.max_memory_allocated()


@pytest.mark.parametrize("method", ["wanda", "sparsegpt", "sparsellm"])
def test_blocks_of_7b_shape_are_pruned_one_at_a_time(method: str, tmp_path: Path) -> None:
    shallow = tiny.make_model(tmp_path / "shallow", blocks=1, **SIZES)
    deep = tiny.make_model(tmp_path / "deep", blocks=3, **SIZES)
    _, low = prune(shallow, method, tmp_path / "a")
    seconds, high = prune(deep, method, tmp_path / "b")
    sizes = floor.read_sizes(deep, load("models", "llama"))
    rates = {dtype: floor.matmul_rate(sizes, BATCH * SEQLEN, dtype, device="cuda") for dtype in operations.DTYPES}
    least = operations.seconds(operations.COUNTED[method](sizes, SAMPLES * SEQLEN, SEQLEN, "bfloat16"), rates)
    print(
        f"\n{method}: {seconds:.1f} s for 3 blocks, {least:.2f} s by FLOPs at",
        {dtype: f"{rate / 1e12:.1f} TFLOP/s" for dtype, rate in rates.items()},
        f"peak {high / 2**30:.1f} GiB, a block is {BLOCK / 2**30:.1f} GiB",
    )
    assert high - low < BLOCK / 2, "the peak grows with the depth"
