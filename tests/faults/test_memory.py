"""Memory of a prune job: one block plus activations, whatever the depth; with SparseLLM's variables in files."""

import time
from pathlib import Path

from jobs import PruneJob, prune_job

SIZES = {"hidden_size": 512, "intermediate_size": 1024, "num_attention_heads": 8, "num_key_value_heads": 8}
BLOCK_MB = 2 * (4 * 512 * 512 + 3 * 512 * 1024) / 2**20  # 5 MB in bf16


def peak_anonymous_mb(job: PruneJob, prelude: str = "") -> float:
    """Peak anonymous memory of a job: what the kernel cannot drop, unlike mapped files."""
    process = job.start(prelude)
    status, peak = Path(f"/proc/{process.pid}/status"), 0.0
    while process.poll() is None:
        lines = status.read_text().splitlines()
        peak = max([peak, *(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))])
        time.sleep(0.002)
    process.communicate()
    assert process.returncode == 0
    return peak


def test_peak_memory_does_not_grow_with_depth(tmp_path: Path) -> None:
    """32 blocks more weigh 160 MB; a quarter of that is left to the allocator's noise."""
    jobs = prune_job(tmp_path / "a", blocks=8, **SIZES), prune_job(tmp_path / "b", blocks=40, **SIZES)
    shallow, deep = map(peak_anonymous_mb, jobs)
    assert deep - shallow < 8 * BLOCK_MB, f"{shallow:.0f} MB with 8 blocks, {deep:.0f} MB with 40"


# Narrow, since what a peak of a few milliseconds holds besides (copies of Hessians, 2 MB each here) is not always seen.
NARROW = {"hidden_size": 64, "intermediate_size": 512, "blocks": 1}
SLAB = "from prunebench.methods import sparsellm_sweep; sparsellm_sweep.SLAB = 1024"
SAMPLES, MORE_SAMPLES = 32, 288
GROWTH_MB = 2 * (MORE_SAMPLES - SAMPLES) * 64 * 512 * 4 / 2**20  # of z and s, in float32


def sparsellm_job(root: Path, samples: int, memory: float) -> PruneJob:
    method = {"method": "sparsellm", "params": {"epochs": 2, "memory": memory}}
    where = {"calibration": f"text_{samples}x64", "lines": 600}
    return prune_job(root, method="ours", more={"methods": {"ours": method}}, **where, **NARROW)


def test_sparsellms_peak_memory_does_not_grow_with_the_tokens(tmp_path: Path) -> None:
    """16384 tokens more are 64 MB of z and s, and 2 MB of hidden states; a quarter is left to the allocator's noise."""
    few, many, kept = (
        peak_anonymous_mb(sparsellm_job(tmp_path / name, samples, memory), SLAB)
        for name, samples, memory in (("few", SAMPLES, 0), ("many", MORE_SAMPLES, 0), ("kept", MORE_SAMPLES, 4))
    )
    assert many - few < GROWTH_MB / 4, f"{few:.0f} MB with 2048 tokens, {many:.0f} MB with 18432"
    assert kept - many > GROWTH_MB / 2, f"{kept:.0f} MB in memory, {many:.0f} MB in files: they took no part"
