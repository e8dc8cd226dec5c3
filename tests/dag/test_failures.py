"""A cell that cannot be pruned is a row with a reason, not the end of the run."""

import csv
import shutil

from dag.tree import Tree

REASON = (
    "prune: model.layers.0.mlp.up_proj.weight holds NaN or infinity (1 of its values in model.safetensors): "
    "take an undamaged copy of the model"
)


def rows(tree: Tree) -> list[dict[str, str]]:
    with (tree.root / "results/of/tiny/cells.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_failed_cell_is_a_row_of_the_results(finished: Tree) -> None:
    by_status = {row["status"]: row for row in rows(finished)}
    assert [row["status"] for row in rows(finished)] == ["ok"] * 4 + ["failed"]
    assert (by_status["failed"]["model"], by_status["failed"]["reason"]) == ("broken", REASON)
    assert by_status["failed"]["value"] == ""
    assert all(float(row["value"]) > 1 for row in rows(finished) if row["status"] == "ok")


def test_table_says_that_the_cell_failed(finished: Tree) -> None:
    assert "failed" in (finished.root / "results/of/tiny/tables/tiny/perplexity.md").read_text()


def test_strict_names_the_failed_cell_and_exits_non_zero(tree: Tree) -> None:
    assert tree.planned("strict") == {"strict"}
    run = tree.snakemake("strict")
    assert run.returncode != 0
    assert f"broken magnitude uniform unstructured 0.50 ppl_tiny failed {REASON}" in run.stdout


def test_strict_passes_without_failed_cells(tree: Tree) -> None:
    tree.edit("tiny.yaml", "      - {model: broken, method: magnitude, sparsity: 0.5}\n", "")
    run = tree.snakemake("strict")
    assert run.returncode == 0, run.stdout


def test_after_an_error_the_tables_hold_no_older_number(tree: Tree) -> None:
    before = (tree.root / "results/of/tiny/tables/tiny/perplexity.md").read_text()
    for made in (".snakemake", "results/allocations", "results/pruned", "results/evaluations"):
        shutil.rmtree(tree.root / made)
    (tree.root / "results/of/tiny/cells.csv").unlink()
    tree.stop_jobs("prune")
    run = tree.snakemake()
    assert run.returncode != 0
    job = "tiny/dense/uniform/unstructured-s0.00/none-seed0"
    block = f"Error in prune {job}:\n    error: a test has stopped this\n    log: logs/prune/{job}.log\n"
    assert run.stdout.count(block) == 1
    assert "run snakemake again: what is done is kept. Why cells failed: prunebench status --configfile" in run.stdout
    assert "--spec" not in run.stdout and "Traceback" not in run.stdout
    assert run.stdout.count("\nmissing: ") == 1, "all cells are missing for one reason"
    assert run.stdout.count("**Perplexity, lower is better") == 1, "the tables are shown once"
    table = (tree.root / "results/of/tiny/tables/tiny/perplexity.md").read_text()
    assert "missing" in table and "missing" not in before
    assert {row["status"] for row in rows(tree)} == {"missing"}
    assert "collect" in tree.planned("collect"), "what the failed run wrote is not what collect makes"
