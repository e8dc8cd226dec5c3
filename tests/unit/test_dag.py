"""Which jobs a plan has, and which job a file belongs to."""

from pathlib import Path

import pytest

from prunebench.plan import graph
from prunebench.plan.jobs import named, rules
from prunebench.plan.plan import Plan, load_plan
from studies import changed, grid
from trained import trained

SEARCH = {"model": "tiny", "calibration": "text_8x16", "sparsity": 0.5, "corpus": "text"}
SEARCHES = {"evolved": {**SEARCH, "seeds": [3, 4]}, "shown": {**SEARCH, "strategy": "random"}}
FOUND = {"allocator": "dsa", "params": {"search": "evolved"}}


@pytest.fixture
def plan() -> Plan:
    rows = [
        {"method": "dense"},
        {"method": "magnitude", "sparsity": 0.5, "suites": ["ppl_tiny", "few_tiny"]},
        {"method": ["random", "wanda"], "allocator": "owl", "sparsity": 0.7, "seed": 1},
        {"method": ["wanda", "pruner_zero"], "pattern": "2of4"},
        {"model": "mini", "method": "dense"},
        {"method": "magnitude", "allocator": "found", "sparsity": 0.5},
    ]
    more = {"keep_weights": "mask", "searches": SEARCHES, "allocators": {"found": FOUND}}
    return load_plan({**trained(grid(*rows, searches=["shown"])), **more})


def test_every_file_of_every_job_is_known_by_its_name(plan: Plan) -> None:
    jobs = graph.jobs(plan)
    assert {job.rule for job in jobs} == set(rules())
    for job in jobs:
        assert [graph.maker(file) for file in job.files] == [job] * len(job.files)


@pytest.mark.parametrize(
    "name",
    [
        "results/README.md",
        "results/pruned/tiny/wanda/uniform/unstructured-s0.5/none-seed0/prune.json",
        "results/pruned/tiny/wanda/uniform/2of4/none-seed0/notes.json",
        "results/figures/mine.svg",
        "logs/prune/mine.log",
        "elsewhere/results/cells.csv",
    ],
)
def test_other_files_belong_to_no_job(name: str) -> None:
    assert graph.maker(Path(name)) is None


def test_a_chain_holds_what_the_cell_rests_on_in_order(plan: Plan) -> None:
    cells = {cell.method: cell for cell in plan.cells if cell.allocator == "owl"}
    shared = ["fetch_model", "fetch_corpus", "calibrate", "profile", "allocate", "prune"]
    assert [job.rule for job in graph.chain(plan, cells["wanda"], ["ppl_tiny"])] == [*shared, "evaluate"]
    # The corpus of the suite is that of the calibration: fetched once.
    assert [job.rule for job in graph.chain(plan, cells["random"], ["few_tiny"])] == [
        *shared,
        "fetch_tasks",
        "evaluate",
    ]


def test_an_allocator_that_looks_at_data_needs_tokens_although_the_method_does_not(plan: Plan) -> None:
    (cell,) = (cell for cell in plan.cells if cell.method == "random")
    calibrations = [job.subject for job in graph.chain(plan, cell, []) if job.rule == "calibrate"]
    assert calibrations == ["tiny/text_4x16-seed1"]


def test_an_allocator_that_runs_the_model_needs_tokens_and_no_profile() -> None:
    plan = load_plan(grid({"method": ["magnitude", "wanda"], "allocator": "besa", "sparsity": 0.7}))
    for cell in plan.cells:
        chain = graph.chain(plan, cell, [])
        assert [job.rule for job in chain] == ["fetch_model", "fetch_corpus", "calibrate", "allocate", "prune"]
        assert [job.subject for job in chain if job.rule == "calibrate"] == ["tiny/text_4x16-seed0"]


def test_a_method_without_data_needs_no_tokens(plan: Plan) -> None:
    (cell,) = (cell for cell in plan.cells if (cell.method, cell.allocator) == ("magnitude", "uniform"))
    assert [job.rule for job in graph.chain(plan, cell, [])] == ["fetch_model", "allocate", "prune"]


def test_only_a_method_that_looks_at_the_loss_needs_gradients(plan: Plan) -> None:
    chains = {
        cell.method: [job.rule for job in graph.chain(plan, cell, [])] for cell in plan.cells if cell.point == "2of4"
    }
    shared = ["fetch_model", "fetch_corpus", "calibrate"]
    # Before allocate: a failure there is no reason to delete them.
    assert chains == {
        "wanda": [*shared, "allocate", "prune"],
        "pruner_zero": [*shared, "gradients", "allocate", "prune"],
    }


def test_a_model_that_is_trained_here_needs_its_text_and_the_text_that_it_must_not_see(plan: Plan) -> None:
    (cell,) = (cell for cell in plan.cells if cell.model == "mini")
    made = ["fetch_corpus lessons", "fetch_corpus text", "train_model mini", "fetch_model mini"]
    assert list(map(str, graph.chain(plan, cell, [])))[:4] == made


def test_a_plan_that_keeps_all_weights_makes_no_masks() -> None:
    plan = load_plan(changed("keep_weights", "packed"))
    assert "keep_masks" not in {job.rule for job in graph.jobs(plan)}


def test_wildcards_that_a_rule_does_not_have_are_ignored() -> None:
    assert named("fetch_model", model="tiny", seed=3) == named("fetch_model", model="tiny")


def test_a_searched_allocation_rests_on_all_seeds_and_a_figure_on_those_that_it_shows(plan: Plan) -> None:
    (cell,) = (cell for cell in plan.cells if cell.allocator == "found")
    chain = [str(job) for job in graph.chain(plan, cell, [])]
    searching = ["search_allocation evolved-seed3", "search_allocation evolved-seed4", "gather_search evolved"]
    start = chain.index(searching[0])
    assert chain[start - 1] == "profile tiny/text_8x16-seed0"
    assert chain[start : start + 3] == searching and chain[start + 3].startswith("allocate tiny/found")
    assert "search_allocation shown-seed0" in map(str, graph.jobs(plan))
    assert "gather_search shown" not in map(str, graph.jobs(plan))
