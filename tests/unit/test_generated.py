"""Calibration text that each model writes itself, in configs, in specs and in what jobs ask of the machine."""

import json
from pathlib import Path
from typing import Any

import pytest

from plans import another_number, changed_jobs, edited_code, specs
from prunebench.config.sources import GeneratedSource
from prunebench.errors import PrunebenchError
from prunebench.estimate.devices import DEVICES
from prunebench.estimate.estimate import Estimate
from prunebench.plan import resources
from prunebench.plan.jobs.base import modules_of
from prunebench.plan.plan import Plan, load_plan
from studies import PACKAGE, changed

PROMPTED = {"kind": "generated", "prompts": "text", "prompt_tokens": 4}
JOB = "calibrate tiny own_4x16 0"


def config(source: Any = None, **entry: Any) -> dict[str, Any]:
    """The config of a study whose calibration is text that the model writes."""
    entry = {"title": "Own", "source": source or {"kind": "generated"}, **entry}
    return changed("corpora.own", entry, changed("studies.tiny.defaults.calibration", "own_4x16"))


def job(raw: dict[str, Any]) -> Any:
    return load_plan(raw).job("calibrate", model="tiny", calibration="own_4x16", seed=0)


def test_no_corpus_is_fetched_for_it_unless_it_has_prompts() -> None:
    raw = changed("studies.tiny.suites", ["few_tiny"], config())
    assert not [name for name in specs(load_plan(raw)) if name.startswith("fetch_corpus")]
    raw = changed("corpora.own.source", PROMPTED, raw)
    assert [name for name in specs(load_plan(raw)) if name.startswith("fetch_corpus")] == ["fetch_corpus text"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("corpora.own.source.temperature", 0.8),
        ("corpora.own.source.top_k", 50),
        ("corpora.own.source.top_p", 0.9),
        ("corpora.own.source.prompts", "text"),
        ("corpora.own.source", {"kind": "generated", "prompts": "text", "share": 0.5}),
        ("corpora.own.calibration_bos", "window"),
        ("compute.dtype", "float32"),
        ("compute.batch_size", 3),
        ("compute.threads", 2),
        ("models.tiny.source.version", "2.0"),
        ("models.tiny.dtype", "float32"),
    ],
)
def test_whatever_decides_the_text_is_in_its_spec(path: str, value: Any) -> None:
    assert JOB in changed_jobs(specs(load_plan(config())), specs(load_plan(changed(path, value, config()))))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("corpora.own.source.prompt_tokens", 5),
        ("corpora.text.source.version", "2.0"),
        ("corpora.text.calibration", "documents"),
    ],
)
def test_prompts_are_in_the_spec_where_there_are_any(path: str, value: Any) -> None:
    for source, enters in ((PROMPTED, True), ({"kind": "generated"}, False)):
        before, after = (specs(load_plan(raw)) for raw in (config(source), changed(path, value, config(source))))
        assert (JOB in changed_jobs(before, after)) == enters


def test_the_number_of_windows_that_the_model_writes_is_in_the_spec() -> None:
    texts = {job(config({**PROMPTED, "share": share})).spec for share in (0.25, 0.5, 1.0)}
    assert len(texts) == 3
    assert job(config({**PROMPTED, "share": 0.3})).spec == job(config({**PROMPTED, "share": 0.5})).spec  # two of four


@pytest.mark.parametrize(("share", "samples", "windows"), [(0.55, 100, 55), (0.07, 100, 7), (0.3, 4, 2), (0.01, 1, 1)])
def test_a_share_is_rounded_up_as_it_is_written(share: float, samples: int, windows: int) -> None:
    source = GeneratedSource(kind="generated", prompts="text", share=share)
    assert source.written(samples) == windows and source.origin == "written by each model itself, beside text"


def test_the_seed_and_the_size_are_in_the_spec() -> None:
    plan, draw = load_plan(config()), {"model": "tiny", "calibration": "own_4x16", "seed": 0}
    texts = {plan.job("calibrate", **{**draw, key: value}).spec for key, value in (*draw.items(), ("seed", 1))}
    texts |= {plan.job("calibrate", **{**draw, "calibration": name}).spec for name in ("own_5x16", "own_4x17")}
    assert len(texts) == 4


def test_a_title_changes_nothing() -> None:
    after = specs(load_plan(changed("corpora.own.title", "X", config())))
    assert not {name for name in changed_jobs(specs(load_plan(config())), after) if name.startswith(("calib", "prune"))}


@pytest.mark.parametrize("file", ["engine/generation.py", "models/llama.py"])
def test_the_code_that_runs_the_model_counts_for_written_text_alone(file: str) -> None:
    drawn = changed("studies.tiny.defaults.calibration", "text_4x16", config())
    raws = {JOB: config(), "calibrate tiny text_4x16 0": drawn}
    before = {name: specs(load_plan(raw))[name] for name, raw in raws.items()}
    with edited_code(f"workflow/prunebench/{file}", another_number):
        after = {name: specs(load_plan(raw))[name] for name, raw in raws.items()}
    assert changed_jobs(before, after) == {JOB}
    assert {"engine.generation", "models.llama", "stages.calibrate"} == set(modules_of("calibrate", before[JOB]))


def test_drawn_text_has_the_spec_that_it_always_had() -> None:
    spec = json.loads(
        load_plan(changed("studies.tiny.suites", "few_tiny"))
        .job("calibrate", model="tiny", calibration="text_4x16", seed=0)
        .spec
    )
    assert set(spec) == {"code", "corpus", "model", "samples", "seed", "seqlen"} and set(spec["code"]) == {"stage"}


def test_a_job_that_writes_asks_for_what_a_run_of_the_model_takes() -> None:
    writing = job(changed("compute.threads", 2, config()))
    drawing = load_plan(changed("compute.threads", 2)).job("calibrate", model="tiny", calibration="text_4x16", seed=0)
    assert (writing.gpu, writing.threads, drawing.gpu, drawing.threads) == (True, 2, False, 1)
    assert resources.memory(writing) >= resources.memory(drawing)
    assert writing.forward_tokens > 4 * 16 and drawing.forward_tokens == 0


def test_a_plan_has_its_cost() -> None:
    def seconds(plan: Plan) -> float:
        estimate = Estimate.of(plan, ["tiny"], DEVICES["cpu"])
        return sum(estimate.seconds(cost) for job, cost in estimate.costs.items() if job.rule == "calibrate")

    half = config({**PROMPTED, "share": 0.5})
    assert (
        seconds(load_plan(config()))
        > seconds(load_plan(half))
        > seconds(load_plan(changed("studies.tiny.title", "As it was")))
    )


TRAINED = {
    "title": "Trained",
    "family": "opt",
    "source": {"kind": "trained", "corpora": ["text"], "heads": 4, "steps": 2, "learning_rate": 0.01},
    "shape": {"blocks": 2, "hidden": 32, "ffn": 48, "attention": 32, "vocabulary": 160},
}
ALONE = "'own' is text that each model writes itself: it can only be a calibration"
SEARCH = {"model": "tiny", "calibration": "text_4x16", "sparsity": 0.5, "corpus": "own"}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("suites.ppl_tiny.params.corpora", ["own"], f"suites.ppl_tiny.params.corpora: corpus {ALONE}"),
        ("searches.mine", SEARCH, f"searches.mine.corpus: corpus {ALONE}"),
        ("models.mine", changed("source.corpora", ["own"], TRAINED), f"models.mine.source.corpora: corpus {ALONE}"),
        ("models.mine", changed("source.unseen", ["own"], TRAINED), f"models.mine.source.unseen: corpus {ALONE}"),
        ("corpora.own.source.prompts", "own", "source.prompts: corpus 'own' is itself text that each model writes"),
        ("corpora.own.source.prompts", "texts", "source.prompts: unknown corpus 'texts': did you mean 'text'?"),
        ("corpora.text.use", "training", "corpus 'text' is for training"),
        ("corpora.own.documents", "lines", "'documents' is for text that is fetched"),
        ("corpora.own.use", "training", "'use' is for text that is fetched"),
        ("corpora.own.test_windows", 3, "'test_windows' is for text that is fetched"),
        ("corpora.own.calibration_bos", True, "'calibration_bos': there is no stream"),
        ("corpora.own.source.temperature", 0, "temperature"),
        ("corpora.own.source.top_p", 1, "top_p"),
        ("corpora.own.source.top_k", 0, "top_k"),
        ("corpora.own.source.share", 0, "share"),
        ("corpora.own.source.share", 1.5, "share"),
        ("corpora.own.source", {"kind": "generated", "share": 0.5}, "'share' is about windows of 'prompts'"),
        (
            "corpora.own.source",
            {"kind": "generated", "prompt_tokens": 0},
            "'prompt_tokens' is about windows of 'prompts'",
        ),
        ("corpora.own.source.prompt_tokens", 0, "no window has a token of 'prompts'"),
        ("corpora.own.source.prompt_tokens", 15, "own_4x16 leaves the model nothing to write"),
        ("corpora.text.documents", None, "'documents' is missing"),
        ("models.tiny.shape", {**TRAINED["shape"], "context": 15}, "reads at most 15"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(path: str, value: Any, message: str) -> None:
    with pytest.raises(PrunebenchError) as caught:
        load_plan(changed(path, value, config(PROMPTED)))
    assert any(message in line for line in str(caught.value).splitlines())


def test_prompts_are_found_missing_and_too_short_like_any_text(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    local = {"title": "Local", "source": {"kind": "path", "path": str(path)}, "documents": "lines"}
    raw = changed("corpora.local", local, config({**PROMPTED, "prompts": "local"}))
    with pytest.raises(PrunebenchError, match=r"corpora\.local\.source\.path"):
        load_plan(raw)
    path.write_text("too short")
    with pytest.raises(PrunebenchError, match="own_4x16 needs 64 tokens"):
        load_plan(raw)


def test_another_source_has_no_keys_of_sampling() -> None:
    with pytest.raises(PrunebenchError, match="temperature"):
        load_plan(changed("corpora.text.source", {**PACKAGE, "temperature": 1.0}))
