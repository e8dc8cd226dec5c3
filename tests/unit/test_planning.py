"""The time, memory and disk that a plan states, against numbers that were worked out by hand or measured."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from huggingface_hub import constants
from rich.console import Console
from typer.testing import CliRunner

from hub_server import HubServer
from prunebench import registry
from prunebench.cli import app
from prunebench.config.entries import Shape
from prunebench.config.schema import with_catalogs
from prunebench.config.sources import HubModelSource, HubSource
from prunebench.errors import PrunebenchError
from prunebench.estimate import costs, operations
from prunebench.estimate.costs import LIBRARIES, START, Cost, Pruning, Text
from prunebench.estimate.devices import DEVICES, GIB, Device, device, parse_rates, this_machine
from prunebench.estimate.estimate import Estimate, missing
from prunebench.estimate.show import notes, overview, plain, too_large
from prunebench.estimate.sizes import Model, counted_sizes
from prunebench.plan import graph
from prunebench.plan.plan import Plan, load_plan, read_plan
from prunebench.runtime import gpus
from prunebench.runtime.digits import duration
from studies import STUDY, changed, grid

REPOSITORY = Path(__file__).parents[2]
SHAPE = Shape(blocks=2, hidden=4, ffn=8, attention=6, vocabulary=10, key_value=2)
MACHINE = Device("a machine", {"bfloat16": 100.0, "float64": 10.0}, read=1000.0)
CARD = replace(MACHINE, memory=1e9)
TEXT = Text(tokens=6, seqlen=3, batch=2, dtype="bfloat16")
# q 6 x 4, k and v 2 x 4, o 4 x 6, gate and up 8 x 4, down 4 x 8.
WEIGHTS = 24 + 2 * 8 + 24 + 3 * 32
FORWARD = 2 * 6 * (WEIGHTS + 2 * 6 * 2)
"""The operations of one block on TEXT: its linears, and attention to two tokens on average, with scores and values."""


def model(family: str = "llama", shape: Shape = SHAPE) -> Model:
    found = registry.load("models", family)
    return Model(counted_sizes(shape, found), shape.ffn, found.ffn.gate is not None, item=2)


def prune(method: str, part: float = 1.0, on: Device = MACHINE, **params: Any) -> Cost:
    plugin = registry.load("methods", method)
    return plugin(plugin.configure(overrides=params)).cost(Pruning(model(), TEXT, on, part))


def plan_of(*rows: dict[str, Any], **study: Any) -> Plan:
    return load_plan(grid(*rows, **study))


def test_matrices_follow_from_the_shape() -> None:
    attention = {"q": (6, 4), "k": (2, 4), "v": (2, 4), "o": (4, 6)}
    expected = {f"self_attn.{name}_proj": size for name, size in attention.items()}
    expected |= {"mlp.gate_proj": (8, 4), "mlp.up_proj": (8, 4), "mlp.down_proj": (4, 8)}
    sizes = model().sizes
    assert (sizes.linears, sizes.sites, sizes.attention) == (expected, (4, 6, 4, 8), 6)
    assert (sizes.weights, model().prunable, model().parameters) == (WEIGHTS, 2 * WEIGHTS, 2 * WEIGHTS + 80)
    opt = model("opt", SHAPE.model_copy(update={"key_value": None})).sizes
    assert list(opt.linears.values()) == [(6, 4), (6, 4), (6, 4), (4, 6), (8, 4), (4, 8)]


# As transformers counts the parameters of the published files.
PARAMETERS = {
    "llama_7b": 6_738_415_616,
    "llama_13b": 13_015_864_320,
    "llama_30b": 32_528_943_616,
    "llama_65b": 65_285_660_672,
    "llama2_70b": 68_976_648_192,
    "llama3_8b": 8_030_261_248,
    "llama3_70b": 70_553_706_496,
    "opt_125m": 125_239_296,
    "opt_6_7b": 6_658_473_984,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_shapes_of_the_catalog_have_the_published_numbers_of_parameters(name: str) -> None:
    entry = with_catalogs(STUDY, catalog=REPOSITORY / "config/catalog")[0].models[name]
    found = Model.of(entry)
    # OPT's head is its embedding; positions, biases and norms are not counted.
    tied = found.outside // 2 if entry.family == "opt" else 0
    assert found.parameters - tied == pytest.approx(
        PARAMETERS[name], rel={"opt_125m": 0.02, "opt_6_7b": 2e-3}.get(name, 1e-3)
    )


def test_wanda_runs_every_block_twice_but_for_what_nothing_looks_at() -> None:
    statistics = FORWARD - 2 * 6 * 32
    cost = prune("wanda")
    assert cost.flops == {"bfloat16": 2 * statistics + FORWARD}
    assert cost.seconds(MACHINE, MACHINE) == pytest.approx(
        START + (2 * statistics + FORWARD) / 100 + 2 * 2 * (2 * WEIGHTS + 80) / 1000
    )


def test_sparsegpt_adds_gram_matrices_factors_and_sweeps() -> None:
    widths = (4, 6, 4, 8)
    gram = 6 * sum(width**2 for width in widths)
    factors = sum(2 / 3 * width**3 for width in widths)
    sweeps = (6 + 2 + 2) * 4**2 + 4 * 6**2 + 2 * 8 * 4**2 + 4 * 8**2
    found, wanda = prune("sparsegpt"), prune("wanda")
    assert found.flops["bfloat16"] == wanda.flops["bfloat16"] + 2 * gram
    assert found.flops["float64"] == pytest.approx(2 * (factors + sweeps))
    # Gram matrices in float64, of the widest input three more, and its weights stacked twice (four copies of 32).
    assert found.host - wanda.host == 8 * (sum(width**2 for width in widths) + 3 * 8**2 + 4 * 32)


@pytest.mark.parametrize("method", ["sparsegpt", "sparsellm"])
def test_float32_takes_the_operations_of_float64_and_half_of_its_bytes(method: str) -> None:
    double, single = (prune(method, solve_dtype=dtype) for dtype in ("float64", "float32"))
    assert single.flops == {"bfloat16": double.flops["bfloat16"], "float32": double.flops["float64"]}
    assert double.host - single.host == 4 * (3 * 8**2 + 4 * 32)


def test_densefit_by_admm_solves_nothing_in_float64() -> None:
    assert "float64" not in prune("dense_fit").flops
    assert "float64" in prune("dense_fit", solver="sparsegpt").flops


def test_of_the_first_half_of_the_blocks_only_these_are_computed() -> None:
    statistics = FORWARD - 2 * 6 * 32
    assert prune("wanda", part=0.5).flops == {"bfloat16": statistics}


def test_every_epoch_of_sparsellm_costs() -> None:
    two, four = (prune("sparsellm", epochs=epochs, memory=0.0) for epochs in (2, 4))
    assert two.flops["float64"] < four.flops["float64"] and two.flops["bfloat16"] < four.flops["bfloat16"]
    # x and y as computed, z and s in float32, all in files.
    assert two.scratch == four.scratch == 6 * (2 * 4 * 2 + 2 * 8 * 4)
    assert prune("sparsellm", memory=1.0).scratch == 0


def test_memory_of_a_streamed_pass_is_what_is_there_at_once() -> None:
    states, outside, blocks = 6 * 4 * 2, 80 * 2, 2 * WEIGHTS * 2
    batch = 4 * 2 * 3 * (3 * 8 + 8 * 4)
    cost = prune("wanda")
    assert (cost.host, cost.card) == (LIBRARIES + states + outside + blocks + batch, 0)
    on_card = prune("wanda", on=CARD)
    assert on_card.card == costs.CONTEXT + states + outside + blocks + batch
    assert on_card.host == LIBRARIES + costs.CONTEXT + 2 * blocks, "the next block is read ahead"


def test_hidden_states_that_fill_the_card_stay_on_the_host_and_travel() -> None:
    small = replace(CARD, memory=4.0 * 6 * 4 * 2)  # a quarter of it is not more than the states
    states = 6 * 4 * 2
    here, there = prune("wanda", on=small), prune("wanda", on=CARD)
    assert there.card - here.card == here.host - there.host == states
    assert here.read - there.read == 2 * states * 2


def test_perplexity_reads_the_model_once_per_piece() -> None:
    text = replace(TEXT, tokens=3 * costs.PIECE - 1, seqlen=1)
    cost = costs.perplexity(model(), text, MACHINE)
    assert cost.read == 3 * 2 * (2 * WEIGHTS + 80)
    assert cost.host < costs.perplexity(model(), replace(text, tokens=costs.PIECE, batch=4), MACHINE).host


def test_the_harness_has_the_whole_model_in_memory_and_spreads_it() -> None:
    cost = costs.zeroshot(model(), TEXT, CARD)
    whole = 2 * (2 * WEIGHTS + 80) + 4 * 2 * 3 * (3 * 8 + 8 * 4) + 4 * 2 * 3 * 10
    assert cost.card == costs.CONTEXT + whole
    card = replace(CARD, memory=cost.card / 1.8)
    assert (cost.cards(card), replace(cost, divisible=False).cards(card), cost.cards(MACHINE)) == (2, 1, 0)


def test_gradients_need_float32_sums_beside_the_model() -> None:
    cost = costs.gradients(model(), TEXT, MACHINE)
    assert cost.flops == {"bfloat16": 3 * (2 * FORWARD + 2 * 6 * 4 * 10)}
    assert cost.disk == 4 * 2 * WEIGHTS
    assert cost.host > LIBRARIES + 2 * (2 * WEIGHTS + 80) + 4 * 2 * WEIGHTS


def test_a_search_runs_the_model_for_each_evaluation_and_twice_before() -> None:
    one, three = (costs.search(model(), TEXT, MACHINE, evaluations) for evaluations in (1, 3))
    assert one.flops["bfloat16"] == 3 * (2 * FORWARD + 2 * 6 * 4 * 10)
    assert three.flops["bfloat16"] / one.flops["bfloat16"] == pytest.approx(5 / 3)


@pytest.mark.parametrize(
    ("method", "part", "packed", "mask"),
    [
        ("dense", 1.0, 0, 0),
        ("wanda", 1.0, 2 * WEIGHTS / 8, 2 * WEIGHTS / 8),
        ("wanda", 0.5, WEIGHTS / 8, WEIGHTS / 8),
        ("sparsegpt", 1.0, 2 * WEIGHTS * (1 / 8 + 0.25 * 2), 2 * WEIGHTS / 8),
    ],
)
def test_weights_that_stay(method: str, part: float, packed: float, mask: float) -> None:
    kept = costs.kept(registry.load("methods", method)(), model(), 0.75, part)
    assert kept == pytest.approx({"packed": packed, "mask": mask, "none": 0})


def test_the_jobs_of_a_plan_are_those_of_its_dag() -> None:
    plan = plan_of(
        {"method": "dense"},
        {"method": ["magnitude", "wanda", "pruner_zero"], "allocator": ["uniform", "owl", "besa"], "sparsity": 0.5},
    )
    estimate = Estimate.of(plan, ["tiny"], DEVICES["a100"])
    assert list(estimate.costs) == [job for job in graph.jobs(plan) if job.rule != "strict"]
    counted = {work.rule for work in estimate.rules if work.counted}
    assert counted == {"prune", "evaluate", "allocate", "profile", "gradients"}
    assert sum(estimate.hours) * 3600 == pytest.approx(sum(map(estimate.seconds, estimate.costs.values())))


def test_a_job_that_studies_share_counts_once() -> None:
    config = changed("studies.again", STUDY["studies"]["tiny"])
    plan = load_plan(config)
    both, one = (Estimate.of(plan, studies, MACHINE) for studies in (["tiny", "again"], ["tiny"]))
    pruned = [{job for job in of.costs if job.rule == "prune"} for of in (both, one)]
    assert pruned[0] == pruned[1] != set()


def test_texts_of_unknown_length_are_named() -> None:
    whole = {"suite": "perplexity", "params": {"corpora": ["text"], "seqlen": 16}}
    plans = [load_plan(changed("suites.ppl_tiny", suite)) for suite in (STUDY["suites"]["ppl_tiny"], whole)]
    estimates = [Estimate.of(plan, ["tiny"], MACHINE) for plan in plans]
    assert [*map(missing, estimates)] == [{}, {"corpora/text": "524,288 tokens"}]
    costs = [next(of for job, of in made.costs.items() if job.rule == "evaluate") for made in estimates]
    windows = [of.flops["bfloat16"] for of in costs]
    assert windows[1] / windows[0] == pytest.approx(2**19 / 16 / 4)


def test_what_does_not_fit_a_card_is_said() -> None:
    plan = plan_of({"method": "sparsegpt", "sparsity": 0.5})
    estimate = Estimate.of(plan, ["tiny"], replace(DEVICES["a100"], memory=0.1 * GIB))
    assert {rule for rule, _ in too_large(estimate)} == {"prune", "evaluate"}
    assert too_large(Estimate.of(plan, ["tiny"], DEVICES["a100"])) == []


def test_the_rates_of_the_cpu_are_the_measured_ones() -> None:
    measured = json.loads((REPOSITORY / "docs/performance.json").read_text())
    cpu = DEVICES["cpu"]
    for dtype, rate in measured["machine"]["gflops"].items():
        assert cpu.rates[dtype] == pytest.approx(rate * 1e9, rel=1e-3)
    cases = {"wanda": "wanda, 64 x 512", "sparsegpt": "sparsegpt, 64 x 512", "perplexity": "perplexity, 2 x 32 x 512"}
    cases["zeroshot"] = "zero-shot, 7 tasks x 20 rows"
    found = {case["case"]: case["versions"] for case in measured["cases"]}
    for dtype in ("bfloat16", "float32"):
        for counted, case in cases.items():
            assert cpu.overhead(counted, dtype) == found[case][dtype]["over_floor"]
        block = measured["block"]["versions"][dtype]
        assert cpu.overhead("sparsellm", dtype) == pytest.approx(block[f"over_{dtype}_floor"], abs=1e-3)


SMOLLM2 = Shape(blocks=30, hidden=576, ffn=1536, attention=576, vocabulary=49152, key_value=192)


@pytest.mark.parametrize(("method", "samples"), [("wanda", 16), ("wanda", 64), ("sparsegpt", 16), ("sparsegpt", 64)])
def test_measured_jobs_are_estimated_within_a_factor_of_two(method: str, samples: int) -> None:
    measured = json.loads((REPOSITORY / "docs/performance.json").read_text())
    (case,) = (of for of in measured["cases"] if of["case"] == f"{method}, {samples} x 512")
    found = case["versions"]["bfloat16"]
    text = Text(samples * 512, 512, 8, "bfloat16")
    cost = registry.load("methods", method)().cost(Pruning(model(shape=SMOLLM2), text, DEVICES["cpu"], 1.0))
    assert cost.seconds(DEVICES["cpu"], DEVICES["cpu"]) == pytest.approx(found["seconds"], rel=0.6)
    assert 0.5 < cost.host / (found["peak_memory_mb"] * 1e6) < 2


def test_the_steps_of_a_layerwise_solver_are_products_at_full_speed() -> None:
    """A step of ADMM multiplies the weights of each linear with a square matrix, in both blocks."""
    machine = replace(MACHINE, rates={**MACHINE.rates, "float32": 20.0}, slower={("sparsegpt", "bfloat16"): 5.0})
    squares = 6 * 4**2 + 2 * 2 * 4**2 + 4 * 6**2 + 2 * 8 * 4**2 + 4 * 8**2
    plain = prune("sparsegpt", on=machine).seconds(machine, machine)
    for steps in (10, 20):
        cost = prune("admm", on=machine, steps=steps, ramp=5)
        assert cost.seconds(machine, machine) == pytest.approx(plain + 2 * 2 * (steps + 1) * squares / 20)


def test_learning_comes_on_top_of_the_solver() -> None:
    """A step passes a window forward and, for twice as much, backward; an epoch does so with all windows."""
    alone, learned, longer = (
        {name: cost(name) for name in ("wanda", "sparsegpt")}
        for cost in (
            prune,
            lambda name: prune("reconstruct", solver=name, epochs=5),
            lambda name: prune("reconstruct", solver=name, epochs=10),
        )
    )

    def seconds(cost: Cost) -> float:
        return cost.seconds(MACHINE, MACHINE)

    for name in alone:
        assert seconds(longer[name]) - seconds(learned[name]) == pytest.approx(2 * 3 * 5 * FORWARD / 100)
        assert learned[name].host >= alone[name].host
    assert seconds(learned["sparsegpt"]) - seconds(learned["wanda"]) == pytest.approx(
        seconds(alone["sparsegpt"]) - seconds(alone["wanda"])
    )


def test_the_quickstart_takes_about_as_long_as_the_readme_says() -> None:
    """19 minutes on two cores before SparseLLM and DSA joined, which add about five."""
    plan = load_plan(
        yaml.safe_load((REPOSITORY / "config/config.yaml").read_text()), catalog=REPOSITORY / "config/catalog"
    )
    _, hours = Estimate.of(plan, ["quickstart"], DEVICES["cpu"]).hours
    assert 2 * 24 / 60 / 1.5 < hours < 2 * 24 / 60 * 1.5


def test_with_the_choices_of_its_code_sparsegpt_takes_the_published_four_hours_on_opt_175b() -> None:
    """Frantar & Alistarh 2023: about four hours on one A100. Their code sums whole Gram matrices in float32 without
    TF32, factorises and sweeps in float32, and runs forward in float16."""
    sizes = counted_sizes(
        Shape(blocks=96, hidden=12288, ffn=49152, attention=12288, vocabulary=50272), registry.load("models", "opt")
    )
    tokens = 128 * 2048
    rates, forward = DEVICES["a100"].rates, operations.wanda(sizes, tokens, 2048, "float16")
    solving = operations.sparsegpt(sizes, tokens, 2048, "float16")
    gram = 2 * (solving["float16"] - forward["float16"])
    seconds = forward["float16"] / rates["float16"] + (gram + solving["float64"]) / rates["float32"]
    assert 3 < seconds / 3600 < 5


def test_rates_and_memory_can_be_stated() -> None:
    made = device("a100").changed(parse_rates(["float16=90", "float64=4.5"]), 40)
    assert made.rates["float16"] == 90e12 and made.rates["float64"] == 4.5e12
    assert made.rates["bfloat16"] == device("a100").rates["bfloat16"]
    assert made.memory == 40 * GIB


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine without a GPU, in whose directory GPUs can be put."""
    monkeypatch.setattr(gpus, "DEVICES", tmp_path)
    monkeypatch.delenv("PRUNEBENCH_DEVICE", raising=False)
    monkeypatch.chdir(REPOSITORY)
    forget = gpus.first_gpu.cache_clear
    forget()
    yield tmp_path
    forget()


def test_a_plan_is_for_the_cpu_where_there_is_no_gpu(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "first_gpu", None)  # nobody asks for its name
    assert (this_machine().rates, this_machine().memory) == (DEVICES["cpu"].rates, None)
    output = CliRunner().invoke(app, ["plan"], env={"COLUMNS": "250"}).output
    assert "on this machine's CPU, one core" in output
    assert "--device plans for another machine (a100, h100, cpu)" in output
    assert "of a card" not in output and "cards" not in output
    output = CliRunner().invoke(app, ["plan", "--device", "a100"], env={"COLUMNS": "250"}).output
    assert "on one A100 80 GB" in output and "of a card" in output


@pytest.mark.parametrize(
    ("answer", "title", "nearest", "memory"),
    [
        ("NVIDIA A100-SXM4-80GB, 81920\nNVIDIA T4, 1", "this machine's NVIDIA A100-SXM4-80GB", "a100", 80 * GIB),
        ("NVIDIA H200, 143771", "this machine's NVIDIA H200", "h100", 143771 * 2**20),
        ("NVIDIA GeForce RTX 4090, 24564", "this machine's NVIDIA GeForce RTX 4090", "a100", 24564 * 2**20),
        ("NVIDIA GB10, [N/A]", "this machine's NVIDIA GB10", "a100", 79 * GIB),
        ("", "this machine's GPU", "a100", 79 * GIB),
        (None, "this machine's GPU", "a100", 79 * GIB),
    ],
)
def test_a_plan_is_for_the_gpu_of_this_machine(
    machine: Path, monkeypatch: pytest.MonkeyPatch, answer: str | None, title: str, nearest: str, memory: float
) -> None:
    (machine / "nvidia0").touch()
    asked = "import sys; print(sys.argv[1])" if answer is not None else "raise SystemExit(1)"
    monkeypatch.setattr(gpus, "QUESTION", (sys.executable, "-S", "-c", asked, answer or ""))
    made = this_machine()
    assert (made.title, made.memory, made.rates) == (title, memory, DEVICES[nearest].rates)
    assert made.source.startswith(f"of {DEVICES[nearest].title}, assumed and not measured")
    monkeypatch.setenv("PRUNEBENCH_DEVICE", "cpu")
    assert this_machine().memory is None, "the user has chosen the CPU"


def test_a_machine_without_nvidia_smi(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "nvidia0").touch()
    monkeypatch.setattr(gpus, "QUESTION", (str(machine / "no-such-program"),))
    assert this_machine().title == "this machine's GPU"


def test_a_plan_loads_no_torch() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom prunebench.cli import app\n"
        "assert 'cells' in CliRunner().invoke(app, ['plan']).output\nassert 'torch._C' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "a10"], "unknown device 'a10': did you mean 'a100'?"),
        (["--rate", "float16"], "a rate is written dtype=number, as in float16=90, not 'float16'"),
        *(
            (["--rate", f"float16={rate}"], f"a rate must be a number above 0, not 'float16={rate}'")
            for rate in ("0", "-1", "nan", "inf", "1e999")
        ),
        *((["--memory", size], "the memory of a card must be a number above 0") for size in ("0", "-1", "nan", "inf")),
        (["--rate", "flot16=9"], "unknown dtype 'flot16': did you mean 'float16'?"),
        (["--device", "cpu", "--memory", "4"], "has no memory of its own"),
        (["nothing"], "no study 'nothing'"),
    ],
)
def test_mistakes_on_the_command_line(words: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    run = CliRunner().invoke(app, ["plan", *words])
    assert run.exit_code == 1
    assert message in run.output


def test_unknown_rates_are_errors_also_from_python() -> None:
    with pytest.raises(PrunebenchError, match="unknown dtype"):
        device("cpu").changed({"int8": 1.0}, None)


def test_rates_given_for_the_processor_are_those_of_its_jobs() -> None:
    plan = load_plan(STUDY)
    stock, fast = device("cpu"), device("cpu").changed({"bfloat16": 1000.0, "float32": 1000.0, "float64": 1000.0}, None)
    slow, quick = (sum(Estimate.of(plan, ["tiny"], on).hours) for on in (stock, fast))
    assert quick < slow
    assert Estimate.of(plan, ["tiny"], CARD).cpu == stock, "beside a card"


def test_a_limit_is_one_of_rows_per_subject(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)

    def evaluation(limit: int | None) -> float:
        suite = {"suite": "lm_eval", "params": {"data": "olmo_mmlu", "tasks": ["mmlu"], "limit": limit}}
        study = {"suites": "some", "grid": [{"model": "smollm2_135m", "method": "dense"}]}
        plan = load_plan({"studies": {"tiny": study}, "suites": {"some": suite}})
        made = Estimate.of(plan, ["tiny"], MACHINE)
        return next(of.flops["bfloat16"] for job, of in made.costs.items() if job.rule == "evaluate")

    assert evaluation(20) / evaluation(None) == pytest.approx(57 * 20 / 14042, rel=1e-3)


def test_what_is_gated_and_not_verified_stands_beside_what_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    run = CliRunner().invoke(
        app, ["plan", "sparsellm_table2", "--configfile", "config/studies/sparsellm-table2.yaml", "--json"]
    )
    assert run.exit_code == 0
    found = json.loads(run.output)
    model = found["assets"]["models/llama2_7b"]
    assert model["from"] == "meta-llama/Llama-2-7b-hf"
    assert model["access"] == "gated: needs HF_TOKEN, not verified"
    assert model["bytes"] == pytest.approx(2 * PARAMETERS["llama_7b"], rel=1e-3)
    assert found["cells"] == 123 and found["rules"]["prune"]["jobs"] == 123
    assert found["kept_bytes"]["none"] == 0


def test_what_is_fetched_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    estimate = Estimate.of(
        read_plan(Path("config/studies/sparsellm-table1.yaml")), ["sparsellm_table1"], device("a100")
    )
    found = plain("sparsellm_table1", estimate)["assets"].values()
    sizes = [of["bytes"] for of in found if of["bytes"]]
    assert len(sizes) == 7
    # OPT is published as pickled weights alone, so that it lies there twice.
    assert [of["converted_bytes"] for of in found if of["bytes"]] == sizes
    total = f"{sum(sizes) / 1e9:.1f} GB"
    assert notes(estimate)[1] == (
        f"To fetch: models of at most {total}, at most {total} more for copies of pickled weights as safetensors, "
        "and what has no size before it is here: corpora/c4, corpora/ptb, corpora/wikitext2."
    )


def test_nothing_is_added_up_of_what_packages_ship() -> None:
    assert not any("To fetch" in line for line in notes(Estimate.of(load_plan(STUDY), ["tiny"], MACHINE)))


@pytest.mark.parametrize(("cpus", "said"), [(4, False), (3, True)])
def test_more_threads_than_cores_are_told_before_the_run(
    cpus: int, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prunebench.estimate.show.visible_cpus", lambda: cpus)
    plan = load_plan(changed("compute.threads", 4))
    lines = [line for line in notes(Estimate.of(plan, ["tiny"], MACHINE)) if "threads" in line]
    assert lines == said * [
        "No run would start with --cores all on this machine: the config says threads: 4, but a run with --cores 3 "
        "gives a job 3 at most: run snakemake with --cores 4 or more, or change compute.threads in the config."
    ]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("opt_6_7b", "for 8 of 11 cells, beside ours in the table `published`."),
        ("opt_125m", "for none of 11 cells, so there is no table `published`."),
    ],
)
def test_published_values_are_counted(model: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The grid is that of docs/howto-study.md, which says how many cells have published values."""
    monkeypatch.chdir(REPOSITORY)
    raw = yaml.safe_load(Path("config/studies/sparsellm-table1.yaml").read_text())
    document = Path("docs/howto-study.md").read_text()
    rows = re.findall(r"^# +- (\{model: .*\})$", document, re.MULTILINE)
    raw["studies"]["sparsellm_table1"]["grid"] = [{**yaml.safe_load(row), "model": model} for row in rows]
    plan = load_plan(raw)
    (line,) = (line for line in notes(Estimate.of(plan, ["sparsellm_table1"], device("a100"))) if "Published" in line)
    assert line == f"Published values: {said}"
    assert (("sparsellm_table1", "published") in plan.shown.tables) == (model == "opt_6_7b")
    assert "8 of these 11" in document


@pytest.mark.parametrize(
    ("on", "total"), [(MACHINE, r"\S+ h"), (CARD, r"\S+ h of a card, \S+ min of a processor beside it")]
)
def test_times_have_the_unit_that_they_fill(on: Device, total: str) -> None:
    estimate = Estimate.of(plan_of({"method": "magnitude", "sparsity": [0.5, 0.7]}), ["tiny"], on)
    assert re.match(rf"In all about {total}, one job at a time\.", notes(estimate)[0]), notes(estimate)[0]


def test_lower_and_upper_bounds_say_which_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    plan = read_plan(Path("config/studies/sparsellm-table1.yaml"))
    lines = notes(Estimate.of(plan, ["sparsellm_table1"], device("a100")))
    kept, published, scratch, refusal, explanation = lines[2:7]
    assert re.fullmatch(
        r"Pruned weights that stay: at most \S+ GB \(keep_weights: packed; \S+ GB with mask and 0 bytes with none\).",
        kept,
    )
    assert published == "Published values: for 23 of 239 cells, beside ours in the table `published`."
    assert scratch.startswith("Temporary files for the variables of a running job: at most ")
    assert refusal.startswith("No run would start: the disk of ") and "this work writes at least " in refusal
    assert re.search(r"\(downloads at least \S+ GB, copies of pickled weights at least \S+ GB, ", refusal)
    assert explanation == (
        'Sizes are known within bounds: "at most" (also in the table) is the largest possible size, "at least" the '
        "smallest. Only what surely does not fit is refused."
    )


def test_without_a_shortage_nothing_is_said_of_bounds() -> None:
    assert not any("Sizes are known" in line for line in notes(Estimate.of(load_plan(STUDY), ["tiny"], MACHINE)))


def test_guessed_lengths_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    plan = read_plan(Path("config/studies/dsa-tasks.yaml"))
    assert missing(Estimate.of(plan, ["dsa_tasks"], MACHINE)) == {"tasks/gsm8k": "1,319 rows of 1,100 tokens"}


def test_the_tables_are_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    run = CliRunner().invoke(
        app, ["plan", "--configfile", "config/studies/dsa-table2.yaml", "--device", "h100"], env={"COLUMNS": "160"}
    )
    assert run.exit_code == 0
    assert "dsa_table2: 147 cells, 147 evaluations" in run.output
    assert "meta-llama/Meta-Llama-3-70B" in run.output
    assert "Rates assumed: not measured on a card" in run.output


def printed(estimate: Estimate) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(overview("tiny", estimate))
    return capture.get()


def test_one_is_singular_and_empty_parts_are_left_out() -> None:
    plan = plan_of({"method": "dense"})
    whole = Estimate.of(plan, ["tiny"], MACHINE)
    output = printed(whole)
    assert output.startswith(f"tiny: 1 cell, 1 evaluation, {len(whole.costs)} jobs\n")
    assert "strict" not in output and "to fetch" in output
    assert "at most" not in output.partition("to fetch")[2].partition("In all")[0], "sizes of packages are not known"
    *done, last = whole.costs
    assert not last.asset
    output = printed(Estimate.of(plan, ["tiny"], MACHINE, frozenset(done)))
    assert output.startswith(f"tiny: 1 cell, 1 evaluation, 1 job left, {len(done)} are done\n")
    assert "to fetch" not in output


def test_a_size_that_is_not_known_is_a_dash_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    plan = read_plan(Path("config/studies/dsa-figure1.yaml"))
    output = printed(Estimate.of(plan, list(plan.studies), device("cpu")))
    cells = {row[1].strip(): row[3].strip() for row in (line.split("│") for line in output.splitlines()) if row[4:]}
    assert cells["corpora/c4"] == "-" and cells["models/llama_7b"].endswith(" GB")


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (
            ["--configfile", "config/studies/smoke.yaml"],
            "This config comes with the package. To run it: prunebench init DIR --study smoke, then "
            "snakemake --cores all in DIR",
        ),
        (
            [],
            "This config comes with the package. To run it: prunebench init DIR --study quickstart, then "
            "snakemake --cores all in DIR. To begin a project of your own: prunebench init DIR",
        ),
    ],
)
def test_a_config_of_the_package_begins_with_the_way_to_run_it(
    words: list[str], first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["plan", *words]).output.splitlines()[0] == first
    assert CliRunner().invoke(app, ["plan", *words, "--json"]).output.startswith("{")
    monkeypatch.chdir(REPOSITORY)
    assert first not in CliRunner().invoke(app, ["plan", *words]).output, "it is a file of the project"


@pytest.mark.parametrize(("study", "file"), [("quickstart", "config.yaml"), ("smoke", "studies/smoke.yaml")])
def test_a_project_begins_with_a_study_of_the_package(study: str, file: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["init", str(tmp_path / "new"), "--study", study])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "new/config/config.yaml").read_text() == (REPOSITORY / "config" / file).read_text()


def test_plain_data_hold_no_number_of_another_study() -> None:
    config = changed("studies.more", {**STUDY["studies"]["tiny"], "grid": [{"method": "dense"}]})
    found = plain("more", Estimate.of(load_plan(config), ["more"], MACHINE))
    assert (found["cells"], found["rules"]["prune"]["jobs"]) == (1, 1)


def test_sources_of_the_catalog_are_commits() -> None:
    """A branch could move under a study; those of the papers name what everybody else has measured on."""
    config = with_catalogs(STUDY, catalog=REPOSITORY / "config/catalog")[0]
    hub = [entry.source for entry in config.models.values() if isinstance(entry.source, HubModelSource)]
    rows = [entry.source for entry in config.tasks.values() if isinstance(entry.source, HubSource)]
    assert len(hub) == 21 and len(rows) == 5
    assert all(len(source.revision) == 40 for source in (*hub, *rows))


def checked(*words: str) -> "tuple[int, dict[str, Any]]":
    run = CliRunner().invoke(app, ["plan", *words, "--check", "--json"])
    return run.exit_code, json.loads(run.stdout)["assets"]


def test_a_check_says_what_cannot_be_had(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    words = ("sparsellm_figure5", "--configfile", "config/studies/sparsellm-figure5.yaml")
    hub.connect(monkeypatch, tmp_path)
    code, assets = checked(*words)
    problems = {asset: of["problem"] for asset, of in assets.items() if of["problem"]}
    # The hub for tests has the texts at their revisions, LLaMA-2 at another one, and no OPT-1.3B.
    assert code == 1 and set(problems) == {"models/opt_1_3b", "models/llama2_7b"}
    assert "facebook/opt-1.3b" in problems["models/opt_1_3b"]
    assert not [path for path in hub.downloads() if path.endswith((".safetensors", ".parquet", ".gz"))]


def test_a_check_of_what_can_be_had_exits_with_0(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    raw = yaml.safe_load((REPOSITORY / "config/studies/dsa-figure1.yaml").read_text())
    source = with_catalogs(raw, catalog=REPOSITORY / "config/catalog")[0].models["llama_7b"].source
    assert isinstance(source, HubModelSource)
    found = hub.repositories["models", source.repo]
    hub.add("models", source.repo, found.commits[found.revisions["main"]], source.revision)
    hub.connect(monkeypatch, tmp_path)
    code, assets = checked("--configfile", "config/studies/dsa-figure1.yaml")
    assert code == 0 and {asset: of["problem"] for asset, of in assets.items()} == dict.fromkeys(
        ("models/llama_7b", "corpora/c4", "corpora/wikitext2")
    )


@pytest.mark.parametrize(
    ("offline", "reason"),
    [
        (True, "HF_HUB_OFFLINE is set, so the hub cannot be asked: unset it where this runs"),
        (False, "cannot reach {hub} ("),
    ],
)
def test_a_check_without_the_hub_gives_its_reason_once(
    offline: bool, reason: str, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    hub.connect(monkeypatch, tmp_path)
    hub.stop()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    words = ["plan", "--configfile", "config/studies/dsa-figure1.yaml", "--check"]
    run = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert run.exit_code == 1
    rows = [
        line.split("│")[-2].strip() for line in run.output.splitlines() if line.startswith(("│ models", "│ corpora"))
    ]
    assert rows == ["not asked"] * 3
    assert run.output.count(reason.format(hub=hub.endpoint)) == 1
    code, assets = checked(*words[1:-1])
    assert code == 1 and all(asset["from"] in asset["problem"] for asset in assets.values())


def test_a_check_gives_the_reason_of_each_asset_below_the_table(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    hub.connect(monkeypatch, tmp_path)
    words = ["plan", "--configfile", "config/studies/sparsellm-figure5.yaml", "--check"]
    lines = CliRunner().invoke(app, words, env={"COLUMNS": "300"}).output.splitlines()
    (row,) = (line for line in lines if line.startswith("│ models/opt_1_3b"))
    assert row.split("│")[-2].strip() == "not available"
    (line,) = (line for line in lines if line.startswith("not available: models/opt_1_3b: "))
    assert f"{hub.endpoint} has no model facebook/opt-1.3b" in line


def test_one_model_is_planned_without_a_study_and_without_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["plan", "llama2_7b", "--sparsity", "0.5", "--method", "sparsegpt"]
    needs = json.loads(CliRunner().invoke(app, [*words, "--device", "a100", "--json"]).stdout)
    weights = 32 * (4 * 4096**2 + 3 * 4096 * 11008) + 2 * 32000 * 4096
    assert needs["fetched_bytes"] == needs["written_bytes"] == 2 * weights
    assert (needs["cards"], needs["fits"], needs["cores"]) == (1, True, 0) and 0 < needs["card_bytes"] < 79 * GIB
    shown = CliRunner().invoke(app, [*words, "--device", "a100", "--memory", "1"]).stdout
    assert re.search(r"time +about .* on one A100 80 GB, taken for one of 1 GiB, without", shown)
    assert re.search(r"of a card +at most .*: more than it has", shown)
    assert needs["choice"] is None and "Better but slower" not in shown
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    slower = json.loads(CliRunner().invoke(app, [*words, "--device", "cpu", "--json"]).stdout)
    assert slower["cores"] == 1 and slower["seconds"] > 50 * needs["seconds"] and slower["card_bytes"] == 0
    config = {"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 32}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/config.json").write_text(
        json.dumps({**config, "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 64})
    )
    run = CliRunner().invoke(app, ["plan", "mine", "--pattern", "2of4", "--method", "wanda", "--device", "cpu"])
    assert re.search(r"model +mine\n", run.stdout) and "on 1 core, without downloads" in run.stdout, run.output


def test_the_plan_of_one_model_says_why_it_takes_a_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = ["plan", "llama2_7b", "--sparsity", "0.5", "--device"]
    shown = CliRunner().invoke(app, [*words, "cpu"]).stdout
    assert re.search(r"method +wanda with uniform: no good method ends within 10 minutes here, and of the fast", shown)
    assert "Better but slower: dense_fit with uniform" in shown
    words += ["a100", "--rate", "bfloat16=2", "--rate", "float32=2", "--rate", "float64=2"]
    choice = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)["choice"]
    assert "within 10 minutes on one A100 80 GB" in choice, "the time of that machine decides"


@pytest.mark.parametrize(
    ("title", "method"), [("Wanda", "wanda"), ("SparseGPT", "sparsegpt"), ("DenseFit", "dense_fit")]
)
def test_the_page_on_methods_has_the_numbers_of_plan(
    title: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    entries = []
    for model, machine in (("smollm2_135m", "cpu"), ("llama2_7b", "cpu"), ("llama2_7b", "a100")):
        words = ["plan", model, "--sparsity", "0.5", "--method", method, "--device", machine, "--json"]
        needs = json.loads(CliRunner().invoke(app, words).stdout)
        kind, place = ("card_bytes", " of the card") if needs["cards"] else ("host_bytes", "")
        entries.append(f"{duration(needs['seconds'])}, {needs[kind] / 1e9:.1f} GB{place}")
    assert f"| {title} | {' | '.join(entries)} |" in (REPOSITORY / "docs/choose.md").read_text()


def test_no_job_is_expected_to_end_before_it_has_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["plan", "smollm2_135m", "--sparsity", "0.5", "--method", "wanda", "--device", "h100", "--json"]
    assert START <= json.loads(CliRunner().invoke(app, words).stdout)["seconds"] < START + 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["llama2_7b"], "llama2_7b is a model and no study: add --sparsity 0.5"),
        (["-s", "0.5"], "prunebench plan MODEL --sparsity 0.5"),
        (["llama2_7b", "-s", "0.5", "--check"], "without --configfile and --check"),
        (["llama2_7b", "-m", "wanda"], "--sparsity is missing"),
        (["an/absent", "-s", "0.5"], "HF_HUB_OFFLINE is set"),
    ],
)
def test_mistakes_in_the_plan_of_one_model(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    run = CliRunner().invoke(app, ["plan", *words])
    assert run.exit_code == 1 and said in run.output and run.output.count("\n") == 1
