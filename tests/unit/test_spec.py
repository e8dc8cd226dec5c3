"""Specs change if, and only if, something changes that can move a number."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from prunebench.config.schema import calibration_corpus
from prunebench.identity.canonical import canonical
from prunebench.identity.fingerprint import fingerprint
from prunebench.plan.plan import Plan, load_plan
from studies import PACKAGE, SHAPE, STUDY, changed, grid

REPOSITORY = Path(__file__).parents[2]
CONFIG = changed("studies.tiny.grid", [{"method": "wanda", "sparsity": 0.5, "seed": 0}])

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def specs(plan: Plan) -> dict[str, str]:
    """The spec of every job that the first cell needs, by kind."""
    cell, suite = next(iter(plan.cells)), plan.evaluations[0]["suite"]
    corpus = calibration_corpus(cell.calibration)
    return {
        "model": plan.asset(f"models/{cell.model}").spec,
        "corpus": plan.asset(f"corpora/{corpus}").spec,
        "tokens": plan.job("calibrate", model=cell.model, calibration=cell.calibration, seed=cell.seed).spec,
        "allocation": plan.allocation(cell).spec,
        "prune": plan.job("prune", **cell.wildcards).spec,
        "evaluation": plan.job("evaluate", **cell.wildcards, suite=suite).spec,
    }


BEFORE = specs(load_plan(CONFIG))
SHOWN = {"study": "tiny", "table": "perplexity", "figure": "perplexity"}
EVERYTHING = set(BEFORE)


@given(JSON)
def test_canonical_text_keeps_the_value(value: Any) -> None:
    assert json.loads(canonical(value)) == value


def test_canonical_ignores_the_order_of_keys_and_the_spelling_of_numbers() -> None:
    first = {"b": 0.5, "a": {"y": [1, 2], "x": None}}
    second = yaml.safe_load("a: {x: null, y: [1, 2]}\nb: 0.50\n")
    assert canonical(first) == canonical(second) == '{"a":{"x":null,"y":[1,2]},"b":0.5}'


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"samples": 4, "seqlen": 16}, {"samples": 16, "seqlen": 4}),
        ({"a": 1}, {"a": "1"}),
        ({"a": 1}, {"a": True}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": None}, {}),
        ([1, 2], [2, 1]),
        ("é", "e"),
    ],
)
def test_canonical_tells_values_apart(one: Any, other: Any) -> None:
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_canonical_refuses_what_json_does_not_have(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"a": [value]})


def test_specs_of_the_quickstart_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    plan = load_plan(yaml.safe_load(Path("config/config.yaml").read_text(encoding="utf-8")))
    made = [plan.job("collect").spec, plan.job("tables", **SHOWN).spec]
    for cell in plan.cells:
        made += [plan.job("prune", **cell.wildcards).spec, plan.allocation(cell).spec]
        made += (
            [plan.job("calibrate", model=cell.model, calibration=cell.calibration, seed=cell.seed).spec]
            if cell.calibrated
            else []
        )
    made += [plan.job("evaluate", **wildcards).spec for wildcards in plan.evaluations]
    assert len(made) > 2 + 3 * len(plan.cells)
    assert max(map(len, made)) < 1200


def test_outputs_are_made_again_when_the_choice_of_their_cells_changes() -> None:
    plan = load_plan(CONFIG)
    for made in (plan.job(rule, **SHOWN).spec for rule in ("tables", "figures", "report")):
        assert json.loads(made)["code"]["plan.outputs"] == fingerprint("prunebench.plan.outputs")


WANDA = {"method": "wanda"}
PPL = {"suite": "perplexity", "params": {"corpora": ["text"], "seqlen": 16, "windows": 4}}
OTHER_SOURCE = {**PACKAGE, "sha256": "1" * 64}
MUTATIONS: list[tuple[str, Any, set[str]]] = [
    # numbers cannot depend on it
    ("studies.tiny.title", "Another title", set()),
    ("models.tiny.title", "Another title", set()),
    ("corpora.text.title", "Another title", set()),
    ("suites.ppl_tiny.title", "Another title", set()),
    ("methods.wanda", {**WANDA, "title": "Another title"}, set()),
    ("methods.wanda", {**WANDA, "preset": "paper"}, set()),
    ("methods.wanda", {**WANDA, "params": {"rounding": "nearest"}}, set()),
    ("methods.wanda", {**WANDA, "compute": CONFIG["compute"]}, set()),
    ("methods.magnitude", {"method": "magnitude", "preset": "released"}, set()),
    ("models.other", {"title": "Other", "family": "opt", "source": PACKAGE, "shape": SHAPE}, set()),
    ("corpora.other", {"title": "Other", "source": PACKAGE, "documents": "lines"}, set()),
    ("suites.ppl_tiny.params.bos", False, set()),
    ("studies.tiny.grid.0.sparsity", "0.50", set()),
    ("studies.tiny.grid.0.allocator", "uniform", set()),
    # what is pruned
    ("models.tiny.source", OTHER_SOURCE, EVERYTHING - {"corpus"}),
    ("models.tiny.dtype", "float16", EVERYTHING - {"corpus"}),
    ("models.tiny.family", "opt", EVERYTHING - {"corpus"}),
    # the data
    ("corpora.text.source", OTHER_SOURCE, {"corpus", "tokens", "prune", "evaluation"}),
    ("corpora.text.documents", "blank_lines", {"corpus", "tokens", "prune", "evaluation"}),
    ("studies.tiny.defaults.calibration", "text_16x4", {"tokens", "prune", "evaluation"}),
    ("studies.tiny.defaults.calibration", "text_4x17", {"tokens", "prune", "evaluation"}),
    ("studies.tiny.grid.0.seed", 1, {"tokens", "prune", "evaluation"}),
    # how
    ("studies.tiny.grid.0.sparsity", 0.51, {"allocation", "prune", "evaluation"}),
    ("studies.tiny.grid.0", {"method": "wanda", "pattern": "2of4"}, {"allocation", "prune", "evaluation"}),
    ("methods.wanda", {**WANDA, "preset": "released"}, {"prune", "evaluation"}),
    ("methods.wanda", {**WANDA, "params": {"rounding": "down"}}, {"prune", "evaluation"}),
    ("methods.wanda", {**WANDA, "compute": {"batch_size": 3}}, {"prune", "evaluation"}),
    ("compute.dtype", "float32", {"prune", "evaluation"}),
    ("compute.batch_size", 3, {"prune", "evaluation"}),
    ("compute.threads", 2, {"prune", "evaluation"}),
    # the evaluation
    ("suites.ppl_tiny.params.seqlen", 32, {"evaluation"}),
    ("suites.ppl_tiny.params.windows", 5, {"evaluation"}),
    ("suites.ppl_tiny.params.bos", True, {"evaluation"}),
    ("suites.ppl_tiny", {**PPL, "compute": {"batch_size": 3}}, {"evaluation"}),
]


@pytest.mark.parametrize(("path", "value", "expected"), MUTATIONS)
def test_a_spec_changes_iff_its_numbers_can(path: str, value: Any, expected: set[str]) -> None:
    after = specs(load_plan(changed(path, value, CONFIG)))
    assert {kind for kind in BEFORE if after[kind] != BEFORE[kind]} == expected


ZEROSHOT = changed("studies.tiny.suites", "few_tiny", CONFIG)
RTE = "tasks.few.tasks.rte"
ZEROSHOT_MUTATIONS: list[tuple[str, Any, set[str]]] = [
    ("tasks.few.title", "Another title", set()),
    (f"{RTE}.title", "RTE", set()),
    ("tasks.other", STUDY["tasks"]["few"], set()),
    ("tasks.few.source.sha256", "1" * 64, {"tasks", "evaluation"}),
    (f"{RTE}.stock", "glue/mrpc/default.yaml", {"tasks", "evaluation"}),
    (f"{RTE}.rows", {"test": "rte.jsonl"}, {"tasks", "evaluation"}),
    ("suites.few_tiny.params.limit", 10, {"evaluation"}),
    ("suites.few_tiny.params.seed", 1, {"evaluation"}),
    ("suites.few_tiny.params.num_fewshot", 5, {"evaluation"}),
]


@pytest.mark.parametrize(("path", "value", "expected"), ZEROSHOT_MUTATIONS)
def test_a_spec_of_a_zero_shot_suite_changes_iff_its_numbers_can(path: str, value: Any, expected: set[str]) -> None:
    assert changes(load_plan(ZEROSHOT), load_plan(changed(path, value, ZEROSHOT))) == expected


def test_another_release_of_lm_eval_gives_other_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    released = load_plan(ZEROSHOT), load_plan(CONFIG)
    before = [specs(plan) for plan in released]
    monkeypatch.setattr("prunebench.plan.jobs.evaluate.version", lambda library: {"lm_eval": "0.5.0"}[library])
    after = [specs(load_plan(plan.raw)) for plan in released]
    assert [{kind for kind in one if one[kind] != other[kind]} for one, other in zip(before, after, strict=True)] == [
        {"evaluation"},
        set(),
    ]


def changes(one: Plan, other: Plan) -> set[str]:
    """The kinds of spec in which two plans differ."""

    def all_specs(plan: Plan) -> dict[str, str]:
        return {**specs(plan), "tasks": plan.asset("tasks/few").spec}

    before, after = all_specs(one), all_specs(other)
    return {kind for kind in before if after[kind] != before[kind]}


def test_swapped_values_of_a_suite_differ() -> None:
    swapped = {**PPL, "params": {"corpora": ["text"], "seqlen": 4, "windows": 16}}
    assert specs(load_plan(changed("suites.ppl_tiny", swapped, CONFIG)))["evaluation"] != BEFORE["evaluation"]


def test_the_same_work_under_another_name_has_the_same_spec() -> None:
    config = changed("methods.mine", {"method": "wanda", "preset": "released"}, grid())
    config = changed("studies.tiny.grid", [{"method": ["mine", "wanda_down"], "sparsity": 0.5}], config)
    plan = load_plan(config)
    first, second = (plan.job("prune", **cell.wildcards).spec for cell in plan.cells)
    assert first == second


def test_compute_settings_do_not_touch_what_runs_nothing_forward() -> None:
    magnitude = changed("studies.tiny.grid", [{"method": "magnitude", "sparsity": 0.5}], CONFIG)
    one, other = load_plan(magnitude), load_plan(changed("compute.threads", 2, magnitude))
    (cell,) = one.cells
    assert one.job("prune", **cell.wildcards).spec == other.job("prune", **cell.wildcards).spec
    assert (
        one.job("evaluate", **cell.wildcards, suite="ppl_tiny").spec
        != other.job("evaluate", **cell.wildcards, suite="ppl_tiny").spec
    )
    assert [plan.job("prune", **cell.wildcards).threads for plan in (one, other)] == [1, 1]
    assert [plan.job("evaluate", **cell.wildcards, suite="ppl_tiny").threads for plan in (one, other)] == [1, 2]


OWL = changed("studies.tiny.grid", [{"method": "magnitude", "allocator": "owl", "sparsity": 0.5, "seed": 0}], CONFIG)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("allocators.owl", {"allocator": "owl", "preset": "paper"}, set()),
        ("allocators.owl", {"allocator": "owl", "preset": "released"}, {"allocation", "prune"}),
        ("allocators.owl", {"allocator": "owl", "params": {"spread": 0.1}}, {"allocation", "prune"}),
        ("allocators.owl", {"allocator": "owl", "layers": "all"}, set()),
        ("allocators.owl", {"allocator": "owl", "layers": "first_half"}, {"allocation", "prune"}),
        ("studies.tiny.grid.0.seed", 1, {"profile", "allocation", "prune"}),
        ("studies.tiny.defaults.calibration", "text_4x17", {"profile", "allocation", "prune"}),
        ("compute.batch_size", 3, {"profile", "allocation", "prune"}),
        ("methods.magnitude", {"method": "magnitude", "params": {"selection": "threshold"}}, {"prune"}),
    ],
)
def test_a_calibrated_allocator_brings_its_data_to_a_method_without(path: str, value: Any, expected: set[str]) -> None:
    def made(config: dict[str, Any]) -> dict[str, str]:
        plan = load_plan(config)
        (cell,) = plan.cells
        assert plan.allocation(cell).needs["profile"] and not plan.job("prune", **cell.wildcards).needs["tokens"]
        return {
            "profile": plan.job("profile", model=cell.model, calibration=cell.calibration, seed=cell.seed).spec,
            "allocation": plan.allocation(cell).spec,
            "prune": plan.job("prune", **cell.wildcards).spec,
        }

    before, after = made(OWL), made(changed(path, value, OWL))
    assert {kind for kind in before if after[kind] != before[kind]} == expected


LOSS = changed("studies.tiny.grid", [{"method": "pruner_zero", "sparsity": 0.5, "seed": 0}], CONFIG)
WITHOUT = {"method": "pruner_zero", "params": {"expression": "mul(abs(W), X)"}}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("studies.tiny.grid.0.seed", 1, {"gradients", "prune"}),
        ("studies.tiny.grid.0.sparsity", 0.6, {"prune"}),
        ("compute.dtype", "float32", {"gradients", "prune"}),
        ("compute.threads", 2, {"gradients", "prune"}),
        # One window at a time, whatever the batch size.
        ("compute.batch_size", 3, {"prune"}),
        ("corpora.text.documents", "blank_lines", {"gradients", "prune"}),
        ("methods.pruner_zero", {"method": "pruner_zero", "params": {"expression": "mul(G,X)"}}, {"prune"}),
    ],
)
def test_gradients_change_iff_their_numbers_can(path: str, value: Any, expected: set[str]) -> None:
    def made(config: dict[str, Any]) -> dict[str, str]:
        plan = load_plan(config)
        (cell,) = plan.cells
        gradients = plan.job("gradients", model=cell.model, calibration=cell.calibration, seed=cell.seed).spec
        return {"gradients": gradients, "prune": plan.job("prune", **cell.wildcards).spec}

    before, after = made(LOSS), made(changed(path, value, LOSS))
    assert {kind for kind in before if after[kind] != before[kind]} == expected


def test_a_method_that_does_not_look_at_the_loss_has_no_gradients_in_its_spec() -> None:
    for config, wanted in ((CONFIG, False), (LOSS, True), (changed("methods.pruner_zero", WITHOUT, LOSS), False)):
        plan = load_plan(config)
        (cell,) = plan.cells
        assert (
            ("gradients" in json.loads(plan.job("prune", **cell.wildcards).spec))
            == bool(plan.job("prune", **cell.wildcards).needs["gradients"])
            == wanted
        )


BESA = changed("studies.tiny.grid.0.allocator", "besa", OWL)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("allocators.besa", {"allocator": "besa", "preset": "paper"}, False),
        ("allocators.besa", {"allocator": "besa", "preset": "released"}, True),
        ("allocators.besa", {"allocator": "besa", "layers": "first_half"}, True),
        ("studies.tiny.grid.0.seed", 1, True),
        ("studies.tiny.defaults.calibration", "text_4x17", True),
        ("corpora.text.source", OTHER_SOURCE, True),
        ("compute.batch_size", 3, True),
        ("compute.threads", 2, True),
        ("methods.magnitude", {"method": "magnitude", "params": {"selection": "threshold"}}, False),
    ],
)
def test_an_allocator_that_runs_the_model_depends_on_tokens_and_compute(path: str, value: Any, expected: bool) -> None:
    def made(config: dict[str, Any]) -> str:
        plan = load_plan(config)
        (cell,) = plan.cells
        job = plan.allocation(cell)
        assert job.needs["tokens"] and not job.needs["profile"]
        assert not plan.job("prune", **cell.wildcards).needs["tokens"]
        assert job.threads == plan.config.compute.threads
        return job.spec

    assert (made(BESA) != made(changed(path, value, BESA))) == expected


@pytest.mark.parametrize("config", [CONFIG, OWL])
def test_only_such_an_allocator_has_tokens_and_compute_in_its_spec(config: dict[str, Any]) -> None:
    of_besa, of_other = (
        json.loads(plan.allocation(cell).spec) for plan in map(load_plan, (BESA, config)) for cell in plan.cells
    )
    assert of_besa.keys() - of_other.keys() == {"tokens", "compute"} and of_besa["profile"] is None


def test_an_external_checkpoint_is_part_of_what_is_made_from_it() -> None:
    theirs = {"title": "Theirs", "family": "llama", "source": OTHER_SOURCE, "shape": SHAPE}
    config = changed(
        "methods.theirs", {"method": "external", "params": {"model": "theirs"}}, grid({"method": "theirs"})
    )
    plan = load_plan(changed("models.theirs", theirs, config))
    other = load_plan(changed("models.theirs", {**theirs, "source": PACKAGE}, config))
    (cell,) = plan.cells
    (asset,) = plan.job("prune", **cell.wildcards).input("assets")
    assert asset == "resources/models/theirs/asset.json"
    assert (cell.sparsity, cell.calibration) == ("0.00", "none")
    assert plan.job("prune", **cell.wildcards).spec != other.job("prune", **cell.wildcards).spec


def test_what_is_known_of_a_hub_source_is_in_no_spec() -> None:
    hub = {"kind": "hub", "repo": "facebook/opt-125m", "revision": "main"}
    plans = [load_plan(changed("models.tiny.source", hub | more)) for more in ({}, {"verified": True, "gated": True})]
    specs = [plan.asset("models/tiny").spec for plan in plans]
    assert specs[0] == specs[1]
    assert json.loads(specs[0])["entry"]["source"] == hub | {"weights": "safetensors"}
    assert plans[1].config.models["tiny"].source.gated


def test_keys_that_only_some_corpora_have_are_in_their_specs_only() -> None:
    """A key with a default would otherwise change the spec of everything that was ever made."""
    plan = load_plan(STUDY)
    assert set(json.loads(plan.asset("corpora/text").spec)["entry"]) == {"title", "source", "documents", "use"}
    assert "strategy" not in json.loads(plan.job("calibrate", model="tiny", calibration="text_4x16", seed=0).spec)
    by_document = load_plan(changed("corpora.text.calibration", "documents"))
    assert (
        json.loads(by_document.job("calibrate", model="tiny", calibration="text_4x16", seed=0).spec)["strategy"]
        == "documents"
    )
