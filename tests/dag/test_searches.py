"""An allocation that a search finds: its jobs, what makes them run again, and what is left of them in results."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dag.tree import STUDY, Tree
from prunebench.cell import Cell
from prunebench.errors import PrunebenchError
from prunebench.plan import paths
from prunebench.plan.graph import jobs
from prunebench.plan.plan import Plan, load_plan
from prunebench.results.current import Results
from prunebench.storage.files import sha256_file
from prunebench.upkeep import retry

SEARCH = {"model": "tiny", "calibration": "text_4x16", "sparsity": 0.5, "evaluations": 5, "seeds": [0, 1]}
SEARCH |= {"corpus": "text", "windows": 3, "seqlen": 16, "population": 3}
FOUND = {"allocator": "dsa", "params": {"search": "evolved"}}
CELL = "tiny wanda found unstructured-s0.50 text_4x16 0"
SEARCHES = {"search_allocation evolved 0", "search_allocation evolved 1", "gather_search evolved"}
ALLOCATED = {"allocate tiny found unstructured-s0.50 text_4x16 0", f"prune {CELL}", f"evaluate {CELL} ppl_tiny"}
MADE = {"collect", "report", "all", "tables tiny perplexity", "tables tiny allocators"}
MADE |= {f"figures tiny {figure}" for figure in ("perplexity", "reconstruction", "cost", "allocation", "search")}


def config(tree: Tree) -> dict[str, object]:
    read: dict[str, object] = yaml.safe_load((tree.root / STUDY).read_text())
    return read


def add_search(tree: Tree, **changes: object) -> None:
    written = config(tree)
    study = written["studies"]["tiny"]
    study["grid"].append({"model": "tiny", "method": "wanda", "allocator": "found", "sparsity": 0.5})
    study |= {"searches": ["evolved"], "tables": ["allocators"]}
    written |= {"searches": {"evolved": SEARCH | changes}, "allocators": {"found": FOUND}}
    (tree.root / STUDY).write_text(yaml.safe_dump(written, sort_keys=False))


@pytest.fixture(scope="module")
def searched(finished: Tree, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The tiny study with a cell whose allocation was searched, run to its end; not to be changed."""
    tree = finished.copy(tmp_path_factory.mktemp("searched") / "tree")
    add_search(tree)
    assert tree.planned() == SEARCHES | {"profile tiny text_4x16 0"} | ALLOCATED | MADE
    run = tree.snakemake("strict")
    # The finished tree has a cell that fails on purpose.
    assert "broken" in run.stdout and (tree.root / "results/of/tiny/report/index.html").exists(), run.stdout
    return tree


def entered(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> tuple[Plan, Cell]:
    """The plan of `tree`, from now on the working directory, and its cell whose allocation was searched."""
    monkeypatch.chdir(tree.root)
    plan = load_plan(config(tree), STUDY)
    (cell,) = (cell for cell in plan.cells if cell.allocator == "found")
    return plan, cell


def test_the_plan_names_the_jobs_that_snakemake_runs(searched: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(searched.root)
    subjects = {str(job) for job in jobs(load_plan(config(searched), STUDY))}
    assert {"search_allocation evolved-seed0", "search_allocation evolved-seed1", "gather_search evolved"} <= subjects


def test_each_seed_keeps_its_history_and_the_allocation_says_where_it_comes_from(searched: Tree) -> None:
    results = searched.root / "results"
    seeds = [json.loads((results / f"searches/evolved/seed{seed}.json").read_text()) for seed in (0, 1)]
    assert [one["evaluations"] for one in seeds] == [5, 5] and seeds[0]["history"] != seeds[1]["history"]
    lines = (results / "searches/evolved/seed0.history.csv").read_text().splitlines()
    assert len(lines) == len(seeds[0]["history"]) + 1
    best = json.loads((results / "searches/evolved/best.json").read_text())
    assert best["best"]["value"] == min(one["best"]["value"] for one in seeds)
    allocation = json.loads(next(results.glob("allocations/tiny/found/*/*.json")).read_text())
    assert allocation["status"] == "ok" and allocation["found"]["candidate"] == best["best"]["candidate"]
    assert allocation["found"]["model"] == "tiny"
    table = (results / "of/tiny/tables/tiny/allocators.md").read_text()
    assert "DSA (found)" in table and "missing" not in table
    assert (results / "of/tiny/figures/tiny/search.svg").exists()
    log = (searched.root / "logs/search_allocation/evolved-seed0.log").read_text()
    assert "evaluation 5 of 5" in log and ", best " in log


def test_a_second_run_does_nothing_and_a_new_seed_runs_alone(searched: Tree, tmp_path: Path) -> None:
    assert searched.planned() == set()
    tree = searched.copy(tmp_path / "tree")
    tree.edit(STUDY, "    - 0\n    - 1\n", "    - 0\n    - 1\n    - 2\n")
    assert tree.planned() == {"search_allocation evolved 2", "gather_search evolved"} | ALLOCATED | MADE
    # What only a search uses runs no other cell again.
    tree.edit("workflow/prunebench/search/strategies.py", "round(self.sample_ratio", "int(self.sample_ratio")
    again = {f"search_allocation evolved {seed}" for seed in (0, 1, 2)}
    assert tree.planned() == again | {"gather_search evolved"} | ALLOCATED | MADE


def test_what_another_space_needs_runs_no_search_again(searched: Tree, tmp_path: Path) -> None:
    tree = searched.copy(tmp_path / "tree")
    tree.edit("workflow/prunebench/search/slopes.py", "STEP = 0.002", "STEP = 0.003")
    tree.edit("workflow/prunebench/allocators/atp.py", "2 * min(sparsity", "2.0 * min(sparsity")
    assert tree.planned() == set()


def of_older_text(record: str) -> str:
    content = json.loads(record)
    content["inputs"]["corpus"] = "of other text"
    return json.dumps(content)


@pytest.mark.parametrize(
    "edit", [of_older_text, lambda text: text[:-9], lambda text: text.replace("0", "1"), lambda _: ""]
)
def test_a_search_from_older_text_or_a_damaged_one_does_not_pass_for_current(
    edit: Callable[[str], str], searched: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No job reads the results of the seeds again, so the reason has to say which rule has to be forced."""
    plan, cell = entered(searched.copy(tmp_path / "tree"), monkeypatch)
    assert Results(plan).prune(cell)["status"] == "ok"
    path = Path("results/searches/evolved/seed1.json")
    path.write_text(edit(path.read_text()))
    reason = f"on disk from another search: {path} is damaged or lost: run snakemake --forcerun search_allocation"
    assert Results(plan).prune(cell) == {"status": "missing", "reason": reason}


def test_a_failed_search_is_what_retry_runs_again(
    searched: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, cell = entered(searched.copy(tmp_path / "tree"), monkeypatch)
    made = {
        "seed": paths.SEARCH,
        "search": paths.SEARCH_BEST,
        "allocation": str(plan.allocation(cell).outputs[0]),
        "": paths.PRUNED,
    }
    digests: dict[str, str] = {}
    for name, pattern in made.items():
        path = Path(pattern.format(**cell.wildcards, search="evolved"))
        record = json.loads(path.read_text()) | {"status": "failed", "reason": "search: no luck"}
        inputs = record.get("inputs", {})
        inputs.update({key: digest for key, digest in digests.items() if key in inputs})
        path.write_text(json.dumps(record))
        digests[name] = sha256_file(path)
    (state,) = (state for state in retry.retryable(plan, ["tiny"]) if state.cell == cell)
    deleted = {path.as_posix() for path in retry.leftovers(plan, [state])}
    assert {"results/searches/evolved/seed0.json", "results/searches/evolved/best.json"} <= deleted
    assert not any("calibration" in path or "profiles" in path for path in deleted)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "tinny"}, "searches.evolved.model: unknown model 'tinny': did you mean 'tiny'?"),
        ({"corpus": "txt"}, "searches.evolved.corpus: unknown corpus 'txt'"),
        ({"calibration": "txt_4x16"}, "searches.evolved.calibration: unknown corpus 'txt'"),
        ({"strategy": "grid"}, "grid is for slopes, as there are too many functions"),
        ({"evaluation": 5}, "did you mean 'evaluations'?"),
        ({"sparsity": 1.5}, "outside [0, 1)"),
        ({"seeds": [0, 0]}, "'seeds': a seed stands there twice"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_mistakes_are_named_before_anything_runs(tree: Tree, changes: dict[str, object], message: str) -> None:
    add_search(tree, **changes)
    with pytest.raises(PrunebenchError) as error:
        load_plan(config(tree), STUDY, tree.root / "config/catalog")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            {"allocator": "atp", "params": {"search": {0.5: "evolved"}}},
            "is a search of functions, but 'atp' takes slopes",
        ),
        ({"allocator": "dsa", "params": {"search": "evolved", "search_seed": 7}}, "has no seed 7 (it has: 0, 1)"),
        ({"allocator": "dsa", "params": {"search_seed": 0}}, "'search_seed' is a seed of a 'search'"),
        ({"allocator": "dsa", "params": {"search": "evolved", "place": 2}}, "name a 'search_seed' too"),
        (
            {"allocator": "dsa", "params": {"search": "evolved", "search_seed": 0, "place": 6}},
            "has 5 evaluations, so none is in place 6",
        ),
        ({"allocator": "dsa", "preset": "released", "params": {"search": "evolved"}}, "leave out 'function'"),
        ({"allocator": "atp", "params": {"search": {0.5: "evolved"}, "slope": 0.01}}, "leave out 'slope'"),
    ],
)
def test_an_allocator_fits_its_search(tree: Tree, found: dict[str, object], message: str) -> None:
    add_search(tree)
    written = config(tree) | {"allocators": {"found": found}}
    with pytest.raises(PrunebenchError) as error:
        load_plan(written, STUDY, tree.root / "config/catalog")
    assert message in str(error.value)


def test_an_unknown_search_gets_the_nearest(tree: Tree) -> None:
    add_search(tree)
    (tree.root / STUDY).write_text((tree.root / STUDY).read_text().replace("search: evolved", "search: evolve"))
    with pytest.raises(PrunebenchError, match=r"unknown search 'evolve': did you mean 'evolved'\?"):
        load_plan(config(tree), STUDY, tree.root / "config/catalog")


def test_a_cell_may_take_what_another_place_of_the_search_holds(
    searched: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = searched.copy(tmp_path / "tree")
    written = config(tree)
    history = json.loads((tree.root / "results/searches/evolved/seed1.json").read_text())["history"]
    ranked = sorted((one for one in history if one["status"] == "ok"), key=lambda one: one["value"])
    placed = {"search": "evolved", "search_seed": 1}
    written["allocators"] = {f"place{i}": {"allocator": "dsa", "params": {**placed, "place": i}} for i in (1, 2, 3)}
    study = written["studies"]["tiny"]
    study["grid"][-1]["allocator"] = list(written["allocators"])
    del study["searches"]
    (tree.root / STUDY).write_text(yaml.safe_dump(written, sort_keys=False))
    monkeypatch.chdir(tree.root)
    plan = load_plan(written, STUDY)
    assert ("tiny", "agreement") in plan.shown.figures
    tree.snakemake()
    for allocator, expected in zip(written["allocators"], ranked[:3], strict=True):
        made = f"results/allocations/tiny/{allocator}/unstructured-s0.50/text_4x16-seed0.json"
        found = json.loads((tree.root / made).read_text())["found"]
        assert (found["candidate"], found["value"]) == (expected["candidate"], expected["value"])
    drawn = (tree.root / "results/of/tiny/figures/tiny/agreement.svg").read_text()
    assert "Rests on 3 of 3 cells" in drawn and "Spearman" in drawn
