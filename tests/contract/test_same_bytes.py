"""Equal specs give equal files: each stage of a tiny pipeline runs twice, in processes with other orders of sets."""

import os
import subprocess
import sys
from pathlib import Path

from jobs import prune_job
from prunebench.plan.graph import ordered
from prunebench.stages.run import run

REPOSITORY = Path(__file__).parents[2]
REPEAT = """
import sys
from pathlib import Path
sys.path[:0] = ["workflow", "tests"]
from contract.test_same_bytes import evaluate
evaluate(Path(sys.argv[1]))
"""


def evaluate(root: Path) -> None:
    """Run a cell with all kinds of inputs, and its evaluation, below `root`."""
    job = prune_job(root, method="pruner_zero", allocator="owl", blocks=2)
    for step in ordered([job.evaluating("ppl")]):
        run(step, root)


def contents(root: Path) -> dict[Path, bytes]:
    """Read all files that jobs have written below `root`, except measurements."""
    files = [path for top in ("resources", "results") for path in (root / top).rglob("*") if path.is_file()]
    return {path.relative_to(root): path.read_bytes() for path in files if "measured" not in path.name}


def test_a_second_run_gives_the_same_bytes(tmp_path: Path) -> None:
    """A file that is made again outdates nothing that was made from it. The order of sets differs by process."""
    root = tmp_path / "root"
    evaluate(root)
    one = contents(root)
    root.rename(tmp_path / "first")
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(REPOSITORY / "workflow")}
    words = [sys.executable, "-c", REPEAT, str(root)]
    again = subprocess.run(words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    other = contents(root)
    assert one.keys() == other.keys()
    assert [path for path in one if one[path] != other[path]] == []
    kinds = {path.parts[1] for path in one} | {path.name for path in one}
    assert kinds >= {"gradients", "profiles", "allocations", "calibration", "weights.safetensors", "ppl.json"}
