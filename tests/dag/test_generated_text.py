"""A study whose calibration is text that the model writes itself, through snakemake."""

from dag.tiny_study import CALIBRATED, evaluated, pruned, tables
from dag.tree import STUDY, Tree
from prunebench.storage.sealed import read_record

SOURCE = "{kind: generated, temperature: 1.0}"
CELLS = tuple(cell.replace("text_4x16", "own_4x16") for cell in CALIBRATED)
MADE = {"calibrate tiny own_4x16 0"} | pruned(*CELLS)
LATER = evaluated(*CELLS) | tables()


def test_a_study_prunes_on_the_text_of_the_model_and_repeats_what_it_must(tree: Tree) -> None:
    tree.edit(STUDY, "calibration: text_4x16", "calibration: own_4x16")
    tree.edit(STUDY, "corpora:\n", f"corpora:\n  own: {{title: Own, source: {SOURCE}}}\n")
    assert tree.planned() == MADE | LATER
    run = tree.snakemake("--until", "prune")
    assert run.returncode == 0, run.stdout
    record = read_record(tree.root / "results/calibration/tiny/own_4x16-seed0.json")
    assert record["generation"]["sampling"] == {"temperature": 1.0}
    tree.edit(STUDY, "own: {title: Own", "own: {title: Its own")
    assert tree.planned() == LATER
    tree.edit(STUDY, SOURCE, "{kind: generated, temperature: 0.9}")
    assert tree.planned() == MADE | LATER
