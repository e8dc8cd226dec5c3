"""Jobs ask for as much memory and time as they take, and for more if the model is larger."""

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import tiny
from dag.tree import REPOSITORY
from prunebench.assets.manifest import read_shape
from prunebench.config.entries import Shape, SuiteEntry
from prunebench.config.sources import GeneratedSource, PathSource
from prunebench.config.values import Compute
from prunebench.plan import resources
from prunebench.plan.jobs import rule_class
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan, load_plan
from prunebench.plan.resources import memory, minutes
from prunebench.plan.sizes import parameters

SMOLLM2 = Shape(blocks=30, hidden=576, ffn=1536, attention=576, vocabulary=49152)
LLAMA_7B = Shape(blocks=32, hidden=4096, ffn=11008, attention=4096, vocabulary=32000)
WRITTEN = GeneratedSource(kind="generated")
"""The source of the calibration text of all jobs, which the model writes."""
RULES = ["calibrate", "profile", "gradients", "search_allocation", "train_model", "allocate", "prune", "keep_masks"]
RULES += ["evaluate"]


def job(rule: str, shape: Shape | None, tokens: int = 0) -> Job:
    """A job of `rule` with so many tokens, for a model of this shape; without a shape its model is not here yet."""
    source = PathSource(kind="path", path="not/here")
    model, corpus = SimpleNamespace(shape=shape, source=source), SimpleNamespace(source=WRITTEN)
    suite = SuiteEntry(suite="perplexity", params={"corpora": ["own"]})
    entries = {"models": {"some": model}, "corpora": {"own": corpus}, "suites": {"none": suite}}
    config = SimpleNamespace(**entries, compute=Compute())
    known = {"model": "some", "tokens": tokens, "config": config}
    made: Job = type(rule, (rule_class(rule),), known)(None, defaultdict(lambda: "none", calibration="own_16x512"))
    return made


sizes = st.builds(
    Shape,
    blocks=st.integers(1, 100),
    hidden=st.integers(1, 20_000),
    ffn=st.integers(1, 60_000),
    attention=st.integers(1, 20_000),
    vocabulary=st.integers(1, 300_000),
)


@pytest.mark.parametrize("name", [*tiny.ARCHITECTURES])
def test_parameters_are_at_least_those_of_the_model(name: str, tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path, name)
    model = tiny.reference(directory)
    # Matrices: norms and biases are not worth counting, learned positions of OPT are no linear.
    found = sum(
        weight.numel() for key, weight in model.named_parameters() if weight.dim() == 2 and "positions" not in key
    )
    assert found <= parameters(read_shape(directory / "config.json")) <= 2 * found


def test_known_models() -> None:
    assert parameters(LLAMA_7B) == pytest.approx(6.74e9, rel=0.01)
    # The most that jobs of SmolLM2 took, of all methods with 16 x 512 tokens (measured.json of this project's runs).
    assert memory(job("prune", SMOLLM2, 16 * 512)) > 1386
    assert memory(job("evaluate", SMOLLM2, 16 * 512)) > 1318
    assert minutes(job("prune", SMOLLM2, 16 * 512), gpus=0) > 1775 / 60
    # Half of what a node with eight GPUs has for each, at the papers' calibration.
    assert 16_000 < memory(job("prune", LLAMA_7B, 128 * 2048)) < 64_000
    assert minutes(job("prune", LLAMA_7B, 128 * 2048), gpus=1) < 12 * 60


def evaluation(plan: Plan, suite: dict[str, Any]) -> Job:
    """The evaluation of `suite` on SmolLM2."""
    study = {"suites": ["asked"], "grid": [{"model": "smollm2_135m", "method": "dense"}]}
    made = load_plan({"studies": {"one": study}, "suites": {"asked": suite}})
    return made.job("evaluate", **made.evaluations[0])


def test_an_evaluation_asks_for_the_time_of_its_text(plan: Plan) -> None:
    few = evaluation(plan, {"suite": "perplexity", "params": {"corpora": ["wikipedia"], "seqlen": 128, "windows": 4}})
    assert few.forward_tokens == 4 * 128
    assert minutes(few, gpus=0) == 60, "the hour that every job has: the windows take seconds"
    whole = evaluation(plan, {"suite": "perplexity", "params": {"corpora": ["wikitext2", "wikipedia"]}})
    assert whole.forward_tokens == 2 * (340_000 + 2**19), "no length is certain"


def test_rows_of_tasks_count_with_room_for_longer_ones(plan: Plan) -> None:
    def tokens(**params: Any) -> int:
        return evaluation(plan, {"suite": "lm_eval", "params": params}).forward_tokens

    assert tokens(data="olmo", tasks=["hellaswag"]) == 2 * 10042 * 317
    assert tokens(data="olmo", tasks=["hellaswag"], limit=2) == 8 * 2 * 317
    # A generated token takes longer than one that is read.
    assert tokens(data="gsm8k", tasks=["gsm8k"]) == 2 * (1319 * 1100 + 8 * 1319 * 256)


def test_the_weights_of_a_large_model_take_time_to_read() -> None:
    """140 GB at 100 MB/s are 23 minutes."""
    llama_70b = Shape(blocks=80, hidden=8192, ffn=28672, attention=8192, key_value=1024, vocabulary=128256)
    asked = minutes(job("keep_masks", llama_70b), gpus=0)
    assert asked == 60 + int(2 * parameters(llama_70b) / 1e8 / 60) > 60 + 23


@given(shape=sizes, tokens=st.integers(0, 10**7), rule=st.sampled_from(RULES))
def test_more_of_anything_asks_for_no_less(shape: Shape, tokens: int, rule: str) -> None:
    asked = memory(job(rule, shape, tokens)), minutes(job(rule, shape, tokens), gpus=0)
    for key in Shape.model_fields:
        larger = job(rule, shape.model_copy(update={key: 2 * (getattr(shape, key) or 0)}), 2 * tokens)
        assert memory(larger) >= asked[0] and minutes(larger, gpus=0) >= asked[1]
    assert minutes(job(rule, shape, tokens), gpus=1) <= asked[1]
    assert memory(job(rule, None)) == resources.LIBRARIES <= asked[0]
    assert minutes(job(rule, None), gpus=0) == 60 <= asked[1]


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.chdir(REPOSITORY)
    study = {"suites": ["ppl"], "grid": [{"model": "smollm2_135m", "method": "dense"}]}
    missing = {"title": "Not here", "family": "llama", "source": {"kind": "path", "path": "not/here"}}
    return load_plan({"studies": {"one": study}, "models": {"missing": missing}})


def test_the_sizes_of_jobs(plan: Plan) -> None:
    draw = {"model": "smollm2_135m", "seed": "0"}
    assert plan.job("calibrate", **draw, calibration="c4_type_16x512").tokens == 16 * 512
    assert plan.job("calibrate", **draw, calibration="none").tokens == 0
    assert memory(plan.job("profile", **draw, calibration="c4_type_16x512")) == memory(
        job("profile", SMOLLM2, 16 * 512)
    )
    trained = yaml.safe_load((REPOSITORY / "config/catalog/models.yaml").read_text())["opt_mini"]["source"]
    tokens = trained["steps"] * trained["compute"]["batch_size"] * trained["context"]
    assert plan.job("train_model", model="opt_mini").tokens == tokens
    name, search = next(iter(plan.config.searches.items()))
    searching = plan.job("search_allocation", search=name, seed=0)
    assert searching.model == search.model
    assert searching.tokens == search.evaluations * search.windows * search.seqlen
    assert memory(plan.job("profile", model="missing", calibration="none", seed="0")) == resources.LIBRARIES
