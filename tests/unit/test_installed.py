"""The package without its repository, as a wheel installs it: what it consists of, and what it does in a folder."""

import hashlib
import re
import shutil
from pathlib import Path

import pytest

import installed
from dag.tree import replaced
from prunebench.config import packaged
from prunebench.config.schema import with_catalogs
from prunebench.plan import graph
from prunebench.plan.plan import read_plan

REPOSITORY = installed.REPOSITORY
SPECS = """
import hashlib
from prunebench.plan import graph
from prunebench.plan.plan import read_plan
print(hashlib.sha256("\\n".join(sorted(job.spec for job in graph.jobs(read_plan()))).encode()).hexdigest())
"""
MODEL = "{title: %s, family: llama, source: {kind: path, path: nowhere}}"
MODULE = """
from prunebench.config.packaged import packaged
configfile: "study/config/config.yaml"
module other:
    snakefile: packaged("Snakefile")
    config: config
use rule * from other as other_*
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed.lay_out(tmp_path_factory.mktemp("installed"))


def below(root: Path, *patterns: str) -> set[str]:
    """The files below `root` that match, as paths relative to it."""
    files = [path for pattern in patterns for path in root.glob(pattern) if path.is_file()]
    return {path.relative_to(root).as_posix() for path in files if "__pycache__" not in path.parts}


def test_the_wheel_has_every_file_of_the_package_and_of_the_workflow(place: Path) -> None:
    beside = ("Snakefile", "rules/*", "config/**/*", "profiles/**/*", "workflow/captions/*")
    beside += ("environment.yml", "constraints.txt", "pyproject.toml")
    workflow = {f"project/{name}" for name in below(REPOSITORY, *beside)}
    package = below(REPOSITORY / "workflow/prunebench", "**/*")
    package = {name for name in package if not name.endswith((".so", ".cpp"))}
    assert "py.typed" in package and "accepted.json" in package and "choices/templates/project/Snakefile" in package
    assert below(place / "prunebench", "**/*") - {"packed/kernels.cpp"} == package | workflow


def test_specs_do_not_depend_on_the_place_of_the_package(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = installed.python(place, tmp_path, "-c", SPECS)
    monkeypatch.chdir(REPOSITORY)
    specs = "\n".join(sorted(job.spec for job in graph.jobs(read_plan())))
    assert run.stdout.strip() == hashlib.sha256(specs.encode()).hexdigest()


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["methods", "wanda"], "Sun et al. 2024"),
        (["models", "smollm2_135m"], "family: llama"),
        (["plan"], "models/smollm2_135m"),
        (["doctor"], "prunebench 0.1.0"),
        (["prune", "nothing", "--sparsity", "0.6", "--out", "out"], "neither a directory nor a model"),
        (["accept"], "accept compares revisions of a checkout"),
        (["init", "study", "--study", "nothing"], "--study: unknown study 'nothing'"),
        (["new", "method", "wanda"], "prunebench/methods/wanda.py is there already: choose another name"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_in_an_empty_folder(place: Path, tmp_path: Path, words: list[str], shown: str) -> None:
    run = installed.prunebench(place, tmp_path, *words)
    assert shown in run.stdout and "Traceback" not in run.stdout
    assert not list(tmp_path.iterdir())


def test_the_readme_finds_the_constraints_of_the_wheel(place: Path, tmp_path: Path) -> None:
    code = re.findall(r"python -c '(.*?)'", (REPOSITORY / "README.md").read_text())
    assert len(code) == 1
    run = installed.python(place, tmp_path, "-c", code[0])
    assert Path(run.stdout.strip()) == place / "prunebench/project/constraints.txt"
    assert Path(run.stdout.strip()).read_text() == (REPOSITORY / "constraints.txt").read_text()


def test_a_new_project_runs_its_study_and_is_not_overwritten(place: Path, tmp_path: Path) -> None:
    assert installed.prunebench(place, tmp_path, "init", "study").returncode == 0
    again = installed.prunebench(place, tmp_path, "init", "study")
    assert again.returncode == 1 and "there already" in again.stdout and "Traceback" not in again.stdout
    run = installed.python(place, tmp_path / "study", "-m", "snakemake", "-n")
    assert run.returncode == 0, run.stdout
    assert "profiles/default" in run.stdout and "prune               5" in run.stdout


def test_a_new_plug_in_becomes_a_part_of_the_project(place: Path, tmp_path: Path) -> None:
    run = installed.prunebench(place, tmp_path, "new", "method", "mine")
    assert run.stdout.startswith("plugins/methods/mine.py: works as it is")
    assert "pytest CLONE/tests/contract/test_methods.py -k mine" in run.stdout
    assert "an installed package has no tests" in run.stdout
    assert below(tmp_path, "**/*.py") == {"plugins/methods/mine.py"}
    assert "from plugins/methods/mine.py" in installed.prunebench(place, tmp_path, "methods", "mine").stdout
    assert not (place / "prunebench/methods/mine.py").exists()


@pytest.mark.wheel
@pytest.mark.parametrize("way", ["included", "named", "module"])
def test_ways_to_use_the_workflow(place: Path, tmp_path: Path, way: str) -> None:
    snakefile = place / "prunebench/project/Snakefile"
    (tmp_path / "Snakefile").write_text(MODULE)
    (tmp_path / "run").mkdir()
    assert installed.prunebench(place, tmp_path, "init", "study", "--study", "smoke").returncode == 0
    directory, *words = {
        "included": ["study", "-d", "study", "-s", "study/Snakefile"],
        "named": ["run", "-s", str(snakefile), "-d", "run", "--configfile", "study/config/config.yaml"],
        "module": ["."],
    }[way]
    # Plug-ins lie where the jobs run.
    assert installed.prunebench(place, tmp_path / directory, "new", "method", "mine").returncode == 0
    config = tmp_path / "study/config/config.yaml"
    config.write_text(replaced(config.read_text(), "[random,", "[random, mine,", str(config)))
    run = installed.python(place, tmp_path, "-m", "snakemake", "-n", *words)
    assert run.returncode == 0, run.stdout
    rule = "other_evaluate" if way == "module" else "evaluate"
    assert f"{rule} " in run.stdout and "method=mine" in run.stdout


def test_a_project_adds_to_the_catalogs_and_replaces_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before, _ = with_catalogs({})
    catalog = tmp_path / "config/catalog/models.yaml"
    catalog.parent.mkdir(parents=True)
    catalog.write_text(f"mine: {MODEL % 'Mine'}\nsmollm2_135m: {MODEL % 'Other'}\n")
    config, files = with_catalogs({})
    assert set(config.models) == {*before.models, "mine"}
    assert config.models["smollm2_135m"].title == "Other"
    assert files["models", "mine"] == "config/catalog/models.yaml"
    assert Path(files["models", "opt_125m"]).is_absolute()


def test_the_look_up_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged, "ROOT", root := tmp_path / "package")
    project = tmp_path / "project"
    for directory in (root, project):
        directory.mkdir()
        (directory / "both").touch()
    (root / "given").touch()
    (project / "own").touch()
    monkeypatch.chdir(project)
    assert packaged.layers("both") == [root / "both", Path("both")]
    assert [packaged.resource(name) for name in ("given", "own", "both", "no")] == [
        *(root / "given", Path("own"), Path("both"), Path("no"))
    ]
    assert packaged.layers(root / "both") == [root / "both"]
    assert packaged.names("*") == [Path("both"), Path("given"), Path("own")]
    names = [packaged.label(path) for path in (root / "given", "own", project / "both", tmp_path / "x")]
    assert names == ["given", "own", "both", "../x"]
    # An environment inside the project: the package is the nearer place.
    shutil.move(root, project / "package")
    monkeypatch.setattr(packaged, "ROOT", project / "package")
    assert packaged.label("package/given") == "given"
    # A package that is the project itself has one of each.
    monkeypatch.chdir(project / "package")
    assert packaged.layers("both") == [Path("both")]
    assert packaged.label(Path.cwd() / "both") == "both"
