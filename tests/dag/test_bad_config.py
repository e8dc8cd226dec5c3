"""With a bad config, snakemake reports the mistake before any job, without a traceback from this package."""

from pathlib import Path

import pytest

from dag.tree import STUDY, Tree


@pytest.fixture
def fresh(tmp_path: Path) -> Tree:
    """The workflow without models or text."""
    return Tree.create(tmp_path)


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        (STUDY, "sparsity: 0.5}\n      - {model: tiny, m", "sparsity: 1.2}\n      - {model: tiny, m", "1.2 is outside"),
        (
            STUDY,
            "compute: {",
            "keep_weights: mask\nkeep_weights: none\ncompute: {",
            f"{STUDY}, line 12: the key 'keep_weights'",
        ),
        (STUDY, "batch_size", "batchsize", f"{STUDY}: unknown key 'compute.batchsize': did you mean 'batch_size'?"),
        (STUDY, "method: dense", "method: dens", "unknown method 'dens': did you mean 'dense'?"),
        (STUDY, "suites: [ppl_tiny]", "suites: []", f"{STUDY}: studies.tiny.suites: must not be empty (got [])"),
        (STUDY, "assets/tiny", "assets/tinny", "models.tiny.source.path: no such file or directory: assets/tinny"),
        (
            "config/catalog/methods.yaml",
            "wanda_released: {method: wanda, preset: released}",
            "wanda_released: {method: wanda, preset: relased}",
            "config/catalog/methods.yaml: methods.wanda_released.preset: unknown preset 'relased': did you mean",
        ),
    ],
)
def test_mistake(fresh: Tree, file: str, old: str, new: str, expected: str) -> None:
    fresh.edit(file, old, new)
    run = fresh.snakemake("--dry-run")
    assert run.returncode != 0
    assert expected in run.stdout
    assert "Traceback" not in run.stdout


KEYS_ONLY = "Config file must be given as JSON or YAML with keys at top level"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", KEYS_ONLY),
        ("- a\n- b\n", KEYS_ONLY),
        ("studies:\n", "bad.yaml: studies: must be a mapping of keys to values (got None)"),
    ],
)
def test_no_config_in_the_file(fresh: Tree, text: str, expected: str) -> None:
    (fresh.root / "bad.yaml").write_text(text)
    run = fresh.snakemake("--dry-run", study="bad.yaml")
    assert run.returncode != 0
    assert expected in run.stdout
    assert "Traceback" not in run.stdout


def test_no_such_config_file(fresh: Tree) -> None:
    run = fresh.snakemake("--dry-run", study="nothing.yaml")
    assert run.returncode != 0
    assert "No such file or directory: 'nothing.yaml'" in run.stdout


def test_a_value_on_the_command_line_extends_the_default_config(fresh: Tree) -> None:
    run = fresh.run("snakemake", "--dry-run", "--cores", "2", "--config", "compute={batch_size: 3}")
    assert run.returncode == 0, run.stdout
    assert "tables/quickstart" in run.stdout
    run = fresh.run("snakemake", "--dry-run", "--cores", "2", "--config", "batch_size=3")
    assert "config/config.yaml: unknown key 'batch_size'" in run.stdout
