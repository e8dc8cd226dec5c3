"""The files that `prunebench new` writes work as they are, and the contract tests find them by themselves."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from prunebench.registry import KINDS

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package with its contract tests, to be added to."""
    for name in ("workflow", "config", "rules", "tests/contract"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "tests/tiny.py", "Snakefile", "environment.yml"):
        shutil.copy2(REPOSITORY / name, tmp_path / name)
    return tmp_path


def run(root: Path, *words: str, inside: str = "") -> str:
    """The output of python with `words` in `root`, or in a directory of it."""
    environment = {**os.environ, "PYTHONPATH": str(root / "workflow")}
    command = [sys.executable, *words]
    done = subprocess.run(
        command, cwd=root / inside, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def prunebench(root: Path, *words: str, inside: str = "") -> str:
    return run(root, "-c", "from prunebench.cli import app; app()", *words, inside=inside)


LEAST = {"method": 20, "allocator": 10, "suite": 2, "table": 5, "figure": 4, "family": 1}
"""How many contract tests find a new plug-in."""


@pytest.mark.parametrize(("kind", "folder"), KINDS.items())
def test_the_contract_tests_find_it_and_pass(copy: Path, kind: str, folder: str) -> None:
    made = prunebench(copy, "new", kind, "zeta_two")
    assert f"workflow/prunebench/{folder}/zeta_two.py: works as it is" in made
    (advice,) = (line for line in made.splitlines() if line.startswith("test it"))
    tests = run(copy, "-m", *advice.removeprefix("test it").split(), "-p", "no:cacheprovider")
    passed = re.search(r"(\d+) passed", tests)
    assert passed and int(passed[1]) >= LEAST[kind], tests
    if "look at it" in made:
        assert "ZetaTwo" in prunebench(copy, folder, "zeta_two")


def test_the_contract_tests_of_a_clone_find_the_plug_in_of_a_project(copy: Path) -> None:
    (copy / "study/config").mkdir(parents=True)
    shutil.copy2(copy / "config/config.yaml", copy / "study/config/config.yaml")
    made = prunebench(copy, "new", "table", "zeta_two", inside="study")
    assert made.startswith("plugins/tables/zeta_two.py: works as it is")
    (advice,) = (line for line in made.splitlines() if line.startswith("test it"))
    tests = run(copy, "-m", *advice.removeprefix("test it").split(), "-p", "no:cacheprovider", inside="study")
    assert (passed := re.search(r"(\d+) passed", tests)) and int(passed[1]) >= LEAST["table"], tests


def test_it_is_in_good_style(copy: Path) -> None:
    files = [f"workflow/prunebench/{folder}/zeta_two.py" for folder in KINDS.values()]
    for kind, file in zip(KINDS, files, strict=True):
        text = (copy / f"workflow/prunebench/choices/templates/{kind}.py").read_text()
        (copy / file).write_text(text.replace("Template", "ZetaTwo").replace("template", "zeta_two"))
    run(copy, "-m", "ruff", "check", *files)
    run(copy, "-m", "ruff", "format", "--check", *files)
    for file in files:
        assert "emplate" not in (copy / file).read_text()


STUDY = """
studies:
  tiny:
    suites: [bits, bare, paper]
    tables: [allocators, theirs]
    grid:
      - {model: llama_7b, method: dense}
      - {model: llama_7b, method: wanda, sparsity: 0.5, calibration: wikitext2_8x128}
suites:
  bits: {suite: zeta_two, params: {corpus: wikitext2}}
  paper: {suite: perplexity, params: {corpora: [wikitext2], bos: true}}
"""
# What somebody else's suite can say as little as: no tasks, no workload, no table.
BARE = '''
from prunebench.suites.base import Suite
from prunebench.suites.metrics import Metric


class Bare(Suite):
    """Nothing but what a suite must have."""

    name = "bare"
    title = "Bare"
    metrics = (Metric("bare", "Bareness"),)
'''
ASK = """
import json, sys, yaml
from prunebench.config.schema import json_schema
from prunebench.plan.graph import jobs
from prunebench.plan.plan import load_plan
plan = load_plan(yaml.safe_load(open("mine.yaml")))
shown = plan.shown
assert all(job.spec for job in jobs(plan) if job.rule in ("tables", "figures", "report"))
heavy = [name for name in ("torch._C", "pandas", "matplotlib") if name in sys.modules]
print(json.dumps([shown.tables, shown.figures, shown.suites_of("tiny", "scores"), heavy, "theirs" in json_schema()]))
"""


def test_what_others_drop_into_the_folders_is_planned_priced_and_shown(copy: Path) -> None:
    """A third kind of suite beside published values, a table that is asked for, a figure."""
    for kind, name in {"suite": "zeta_two", "table": "theirs", "figure": "drawn"}.items():
        prunebench(copy, "new", kind, name)
    (copy / "workflow/prunebench/suites/bare.py").write_text(BARE)
    (copy / "mine.yaml").write_text(STUDY)
    tables, figures, suites, heavy, listed = json.loads(run(copy, "-c", ASK))
    assert tables == [["tiny", name] for name in ("scores", "perplexity", "allocators", "theirs", "published")]
    assert figures[-1] == ["tiny", "drawn"] and len(figures) == 4
    assert (suites, heavy, listed) == (["bits", "bare"], [], True)
    priced = prunebench(copy, "plan", "tiny", "--configfile", "mine.yaml")
    assert "tasks/bare: its size is not known before it is here, taken for 5,000 rows" in " ".join(priced.split())
    planned = run(copy, "-m", "snakemake", "-n", "--cores", "1", "--configfile", "mine.yaml", "--quiet", "rules")
    assert "Error" not in planned
