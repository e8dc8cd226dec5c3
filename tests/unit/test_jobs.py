"""A rule, its class in plan/jobs and its stage agree on the names of inputs and outputs, and on the spec."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from prunebench.errors import PrunebenchError
from prunebench.plan.graph import jobs
from prunebench.plan.jobs import named, rules
from prunebench.plan.jobs.base import Spec
from prunebench.plan.plan import load_plan
from prunebench.stages.run import command, parameters, stage
from studies import grid
from trained import trained

ROOT = Path(__file__).parents[2]
TEXT = "\n".join(file.read_text(encoding="utf-8") for file in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")])
RULES = {text.split(":", 1)[0]: text for text in re.split(r"^rule ", TEXT, flags=re.MULTILINE)[1:]}
OF_EVERY_STAGE = {"threads", "gpus", "label"}
SEARCH = {"model": "tiny", "calibration": "text_8x16", "sparsity": 0.5, "corpus": "text", "seeds": [0, 1]}
PLAN = load_plan(
    {
        **trained(
            grid(
                {"method": "magnitude", "sparsity": 0.5, "suites": ["ppl_tiny", "few_tiny"]},
                {"method": "pruner_zero", "allocator": "owl", "sparsity": 0.7},
                {"method": "wanda", "allocator": "besa", "sparsity": 0.7},
                {"method": "wanda", "allocator": "found", "sparsity": 0.5},
                {"model": "mini", "method": "dense"},
                searches=["evolved"],
            )
        ),
        "keep_weights": "mask",
        "searches": {"evolved": SEARCH},
        "allocators": {"found": {"allocator": "dsa", "params": {"search": "evolved"}}},
    }
)
JOBS = jobs(PLAN)


def test_every_rule_has_a_class_and_every_class_a_rule() -> None:
    assert RULES.keys() - {"all"} == set(rules())
    assert {job.rule for job in JOBS} == set(rules()), "the plan of this test has a job of every rule"


@pytest.mark.parametrize("rule", sorted(rules()))
def test_the_command_of_a_rule_has_the_parameters_of_its_stage(rule: str) -> None:
    lines = RULES[rule].partition("shell:")[2].replace("        and_carried(\n", "").replace("and_carried(", "")
    shell = "".join(re.findall(r'^(?: {8}| {12}(?="(?:python|--asset)))"(.*)"\)?$', lines, re.MULTILINE))
    assert shell.startswith(f"python -m prunebench.stages {rule} ")
    assert set(re.findall(r"--(\w+)", shell)) - OF_EVERY_STAGE == set(parameters(stage(rule)))


@pytest.mark.parametrize("rule", sorted(rules()))
def test_a_job_knows_all_that_its_stage_is_given(rule: str) -> None:
    job = next(job for job in JOBS if job.rule == rule)
    words = command(job)
    assert words[0] == rule
    assert {word.removeprefix("--") for word in words if word.startswith("--")} - {"threads", "gpus"} == set(
        parameters(stage(rule))
    )


def test_what_a_stage_reads_is_what_the_job_graph_wrote() -> None:
    """The class of every spec gives the text again that it is read from: no key is lost, none appears."""
    modules = [import_module(rule.__module__) for rule in rules().values()]
    classes = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    kinds = [kind for kind in classes if issubclass(kind, Spec) and kind is not Spec]
    specs = [job.spec for job in JOBS if job.spec]
    assert len(specs) > 20 and all(spec in {again(kind, spec) for kind in kinds} for spec in specs)


def again(kind: type[Spec], spec: str) -> str | None:
    """The text of `spec` read as `kind`; None if it is not of that kind."""
    try:
        return kind.model_validate_json(spec).text
    except ValueError:
        return None


def test_a_stage_that_no_rule_has_is_one_line() -> None:
    with pytest.raises(PrunebenchError, match=r"unknown stage 'prun': did you mean 'prune'\?"):
        stage("prun")


def test_a_job_without_a_plan_has_names_and_paths_alone() -> None:
    job = named("calibrate", model="tiny", calibration="text_4x16", seed=0)
    assert str(job.log) == "logs/calibrate/tiny/text_4x16-seed0.log" and job == named("calibrate", **job.wildcards)
    with pytest.raises(AssertionError, match="was made from a path alone"):
        _ = job.spec
