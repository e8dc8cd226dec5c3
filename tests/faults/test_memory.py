"""Memory of a prune job: one block plus activations, whatever the depth."""

import time
from pathlib import Path

from jobs import prune_job

SIZES = {"hidden_size": 512, "intermediate_size": 1024, "num_attention_heads": 8, "num_key_value_heads": 8}
BLOCK_MB = 2 * (4 * 512 * 512 + 3 * 512 * 1024) / 2**20  # 5 MB in bf16


def peak_anonymous_mb(root: Path, blocks: int) -> float:
    """Peak anonymous memory of a Wanda job: what the kernel cannot drop, unlike mapped weight files."""
    process = prune_job(root, blocks=blocks, **SIZES).start()
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
    shallow, deep = peak_anonymous_mb(tmp_path / "a", blocks=8), peak_anonymous_mb(tmp_path / "b", blocks=40)
    assert deep - shallow < 8 * BLOCK_MB, f"{shallow:.0f} MB with 8 blocks, {deep:.0f} MB with 40"
