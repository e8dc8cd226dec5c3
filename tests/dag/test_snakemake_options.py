"""Options with which Snakemake keeps old files, or runs a part: no older number is shown, no run ends in an error."""

import re
import shutil

import pytest

from dag.tiny_study import BROKEN
from dag.tree import STUDY, Tree

TABLE = "results/of/tiny/tables/tiny/perplexity.md"
OF_FIRST_BATCH = f"results/evaluations/{'/'.join(BROKEN.split()[:5])}-seed0/ppl_tiny.json"
"""The first of all evaluations by name."""


def numbers(tree: Tree) -> list[str]:
    text = (tree.root / TABLE).read_text()
    return [line for line in text.splitlines() if line.startswith("|") and any(map(str.isdigit, line.split("|")[-2]))]


@pytest.mark.parametrize("options", (["--touch"], ["all", "--rerun-triggers", "mtime"]), ids=lambda words: words[-1])
def test_a_run_that_keeps_files_of_another_config_shows_none_of_their_numbers(tree: Tree, options: list[str]) -> None:
    assert len(numbers(tree)) > 1
    tree.edit(STUDY, "corpora: [text], seqlen: 16, windows: 4", "corpora: [text], seqlen: 16, windows: 3")
    if "mtime" in options:
        (tree.root / TABLE).unlink()  # else nothing is run
    run = tree.snakemake(*options)
    assert "Traceback" not in run.stdout and "FileNotFoundError" not in run.stdout, run.stdout
    assert [line for line in numbers(tree) if "50%" not in line] == [], run.stdout
    assert "on disk from other settings or code" in run.stdout


def test_a_batch_shows_no_table_because_there_may_be_none(tree: Tree) -> None:
    (tree.root / OF_FIRST_BATCH).unlink()
    shutil.rmtree(tree.root / "results/of/tiny/tables")
    run = tree.snakemake("--batch", "collect=1/2")
    assert run.returncode == 0 and "Traceback" not in run.stdout, run.stdout
    assert (tree.root / OF_FIRST_BATCH).exists() and not (tree.root / TABLE).exists()


def test_the_rows_that_others_are_compared_with_come_first(tree: Tree) -> None:
    run = tree.snakemake("--dry-run", "--forceall")
    jobs = re.findall(r"^rule (?:prune|evaluate):\n((?:    .*\n)+)", run.stdout, re.M)
    priorities = {
        str(re.search(r"method=(\w+)", job)[1]): int(match[1] if (match := re.search(r"priority: (\d)", job)) else 0)
        for job in jobs
    }
    assert priorities == {"dense": 2, "magnitude": 1, "wanda": 0}, run.stdout
    texts = re.findall(r"^(?:local)?rule fetch_(?:corpus|tasks):\n((?:    .*\n)+)", run.stdout, re.M)
    assert texts and all("priority: 3" in job for job in texts), "the dense model's first row needs the text"
