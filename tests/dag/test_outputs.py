"""Figures and report of a real run: complete, and never with a number from an older one."""

import zipfile
from typing import Any

import pages
from dag.test_failures import REASON
from dag.tree import Tree

REPORT = "results/of/tiny/report/index.html"


def embedded(tree: Tree) -> dict[str, Any]:
    """The data that the report shows."""
    return pages.embedded((tree.root / REPORT).read_text())


def test_a_run_makes_the_planned_figures(finished: Tree) -> None:
    made = {path.name for path in (finished.root / "results/of/tiny/figures/tiny").iterdir()}
    assert made == {f"{name}.{ext}" for name in ("perplexity", "reconstruction", "cost") for ext in ("svg", "png")}


def test_tables_compare_the_windows_of_evaluations(finished: Tree) -> None:
    table = (finished.root / "results/of/tiny/tables/tiny/perplexity.md").read_text()
    assert "sure over the windows of the text (in pairs, 95%)" in table


def test_the_report_knows_every_cell_and_why_one_failed(finished: Tree) -> None:
    cells = embedded(finished)["cells"]
    failed = cells["broken/magnitude/uniform/unstructured-s0.50/none-seed0"]
    assert f"prune: {failed['prune']['reason']}" == REASON and failed["blocks"] == []
    done = cells["tiny/wanda/uniform/unstructured-s0.50/text_4x16-seed0"]
    (evaluation,) = done["evaluations"]
    assert evaluation["scores"][0]["task"] == "Text" and evaluation["measured"]["device"]
    assert [set(block) for block in done["blocks"]] == 2 * [{"block", "share", "zeros", "low", "error", "high"}]
    assert (finished.root / str(evaluation["log"])).exists()
    assert len(cells) == 5


def test_figures_and_report_hold_no_older_number(tree: Tree) -> None:
    before = embedded(tree)
    tree.stop_jobs("prune")
    assert tree.snakemake().returncode != 0
    after = embedded(tree)
    assert {row["status"]["display"] for row in before["table"]["rows"]} == {"ok", "failed"}
    assert {row["status"]["display"] for row in after["table"]["rows"]} == {"missing"}
    assert all(evaluation["scores"] == [] for cell in after["cells"].values() for evaluation in cell["evaluations"])
    assert "no cell to show" in (tree.root / REPORT).read_text()
    traces = [panel["data"] for panels in after["plots"].values() for panel in panels]
    assert traces and not any(traces)


def test_snakemake_report_needs_no_network(tree: Tree) -> None:
    run = tree.snakemake("--report", "report.zip")
    assert run.returncode == 0, run.stdout
    with zipfile.ZipFile(tree.root / "report.zip") as archive:
        names = archive.namelist()
        page = archive.read("report/report.html").decode()
    assert {name.rpartition(".")[2] for name in names} >= {"svg", "html"}
    for text in ("Tables", "Figures", "Report", "Perplexity against sparsity", "made from results/of/tiny/cells.csv"):
        assert text in page, text
