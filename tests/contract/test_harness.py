"""Zero-shot tasks: what the model is asked, and what comes of it, is what lm-eval itself would ask and say."""

import json
import logging
import math
import random
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
import yaml
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.dummy import DummyLM
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from safetensors.torch import load_file, save_file

import tiny
from jobs import PruneJob, prune_job
from prunebench.config.schema import configured
from prunebench.engine import model
from prunebench.engine.subject import Subject
from prunebench.errors import CellFailure, PrunebenchError
from prunebench.formulas.wilson import wilson_error
from prunebench.plan import paths
from prunebench.registry import load
from prunebench.stages.fetch_tasks import fetch_tasks
from prunebench.standalone.export import export
from prunebench.storage.resume import Parts
from prunebench.suites import lm_eval as lm_eval_suite
from prunebench.suites.base import Score
from prunebench.suites.harness import DEFINITIONS, Harness, results, stock_task
from zeroshot import READER, ROWS, TASKS, asks_the_same, bundle, mmlu, reading_tokenizer, requests, stock, write_jsonl

SEVEN = ["boolq", "rte", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "openbookqa"]
LIMIT, SEED = 5, 3


def wired(task: str, **options: Any) -> ConfigurableTask:
    """The task as the suite makes it."""
    return stock_task(task, TASKS[task]["stock"], {TASKS[task]["split"]: ROWS[task]}, **options)


def stock_model(directory: str) -> HFLM:
    """lm-eval's own model, on the device of the tests."""
    opened = HFLM(directory, dtype="bfloat16", batch_size=4, device="cpu")
    opened.model.to(tiny.DEVICE)
    opened._device = torch.device(tiny.DEVICE)
    return opened


@pytest.mark.parametrize("task", TASKS)
def test_prompts_choices_and_targets_are_those_of_the_stock_task(task: str) -> None:
    assert asks_the_same(wired(task), stock(TASKS[task]["stock"], ROWS[task])) == len(ROWS[task])


MMLU = "The following are multiple choice questions (with answers) about anatomy.\n\n"
PROMPTS = {
    "boolq": ("Ben -- Ben has the old stove.\nQuestion: does Ben have the old stove?\nAnswer:", [" no", " yes"], 1),
    "rte": (
        "Ben sold the old stove.\nQuestion: Ben has the old stove. True or False?\nAnswer:",
        [" True", " False"],
        1,
    ),
    "hellaswag": (
        "Making tea: Ben takes the old stove. She",
        [" drops the old stove. Then she rests", " sings.", " goes home.", " paints the old stove."],
        1,
    ),
    "arc_easy": (
        "Question: What does Ben do to the old stove?\nAnswer:",
        [" it moves the old stove", " it stays", " it is under the old stove", " nobody knows"],
        2,
    ),
    "openbookqa": (
        "Ben heats the old stove, so",
        [" it moves the old stove", " it stays", " it is under the old stove", " nobody knows"],
        3,
    ),
    "piqa": ("Question: How does Ben lift the old stove?\nAnswer:", [" Ben pulls the old stove.", " By a rope."], 1),
    "mmlu_anatomy": (
        f"{MMLU}What did Ben find?\nA. the old stove\nB. rain\nC. anatomy\nD. none\nAnswer:",
        [" A", " B", " C", " D"],
        1,
    ),
}


@pytest.mark.parametrize("task", PROMPTS)
def test_prompts_are_as_published(task: str) -> None:
    """The prompts are written out here, so that a release of lm-eval that changes a prompt is noticed."""
    made = wired(task)
    prompt, continuations, target = PROMPTS[task]
    asked = [args for document, _, args in requests(made) if document == 1]
    assert asked == [(prompt, continuation) for continuation in continuations]
    assert int(made.doc_to_target(made.eval_docs[1])) == target


def test_winogrande_puts_each_option_into_the_prompt() -> None:
    asked = [args for document, _, args in requests(wired("winogrande")) if document == 1]
    assert asked == [("Ben met Zoe and Ben", " had the old stove."), ("Ben met Zoe and Zoe", " had the old stove.")]


def test_lambada_asks_for_the_last_word() -> None:
    asked = [args for document, _, args in requests(wired("lambada_openai")) if document == 1]
    assert asked == [("Ben had the old stove, and gave the old stove to", " Ben")]


def test_a_limit_draws_rows_by_seed() -> None:
    def drawn(**options: Any) -> list[str]:
        return [row["id"] for row in wired("arc_easy", **options).eval_docs]

    everything = [row["id"] for row in ROWS["arc_easy"]]
    assert drawn() == drawn(limit=8) == drawn(limit=100) == everything
    assert len(set(drawn(limit=5))) == 5 and set(drawn(limit=5)) < set(everything)
    assert drawn(limit=5, seed=1) == drawn(limit=5, seed=1) != drawn(limit=5, seed=2)


def test_examples_come_from_the_split_that_the_stock_task_takes_them_from() -> None:
    rows = {"test": ROWS["mmlu_anatomy"], "dev": ROWS["mmlu_virology"]}
    task = stock_task("mmlu_anatomy", TASKS["mmlu_anatomy"]["stock"], rows, num_fewshot=2)
    task.build_all_requests(rank=0, world_size=1)
    examples = [
        f"What did {name} find?\nA. {thing}\nB. rain\nC. virology\nD. none\nAnswer: {answer}\n\n"
        for name, thing, answer in (("Ann", "a river", "A"), ("Ben", "the old stove", "B"))
    ]
    assert task.instances[0].args[0].startswith(MMLU + "".join(examples) + "What did Ann find?")


@pytest.mark.parametrize(
    ("task", "definition", "split", "options", "message"),
    [
        ("rte", "glue/rte/defaults.yaml", "validation", {}, "no task file glue/rte/defaults.yaml"),
        ("rte", "glue/rte/default.yaml", "test", {}, "rte evaluates on split 'validation', but there are rows of test"),
        (
            "rte",
            "glue/rte/default.yaml",
            "validation",
            {"num_fewshot": 2},
            "rte takes examples from split 'train', but there are rows of validation",
        ),
        ("wikitext", "wikitext/wikitext.yaml", "test", {}, "wikitext does not measure acc or acc_norm or exact_match"),
    ],
)
def test_a_task_that_cannot_be_run_as_asked(
    task: str, definition: str, split: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(PrunebenchError, match=message):
        stock_task(task, definition, {split: ROWS.get(task, [])}, **options)


class Canned(LM):  # type: ignore[misc]
    """Answers by heart."""

    def __init__(self, answers: list[str]) -> None:
        super().__init__()
        self._answers = answers

    def loglikelihood(self, _: list[Instance]) -> Any:
        raise AssertionError("nothing is scored")

    loglikelihood_rolling = loglikelihood

    def generate_until(self, requests: list[Instance]) -> list[str]:
        return [self._answers[request.doc_id] for request in requests]


def test_generated_answers_count_as_the_filters_of_the_task_read_them() -> None:
    answers = ["They are 12. #### 12", "It must be 13.", "#### 11", "nobody knows"]
    rows = {"test": ROWS["gsm8k"][:4], "train": ROWS["gsm8k"][4:]}
    task = stock_task("gsm8k", "gsm8k/gsm8k.yaml", rows, num_fewshot=2)
    found = {score["metric"]: score for score in results(Canned(answers), task)}
    assert {metric: score["value"] for metric, score in found.items()} == {"acc": 0.25, "acc_flexible-extract": 0.5}
    assert found["acc"]["n"] == 4
    assert found["acc"]["stderr"] == pytest.approx((0.25 * 0.75 / 3) ** 0.5)
    prompt = task.instances[0].args[0]
    assert prompt.count("####") == 2 and prompt.endswith(f"Question: {ROWS['gsm8k'][0]['question']}\nAnswer:")


def suites(limit: int | None = None) -> dict[str, Any]:
    return {
        "zeroshot": {"suite": "lm_eval", "params": {"data": "tiny", "tasks": SEVEN, "limit": limit, "seed": SEED}},
        "mmlu": {"suite": "lm_eval", "params": {"data": "tiny", "tasks": ["mmlu"], "num_fewshot": 3}},
    }


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> PruneJob:
    """A pruned cell of a tiny model that can read, and the tasks."""
    root = tmp_path_factory.mktemp("job")
    tasks = {"tiny": bundle(root / "assets/tasks", *SEVEN, "mmlu")}
    made = prune_job(root, tokenizer=reading_tokenizer(), more={"suites": suites(), "tasks": tasks}, **READER)
    fetch_tasks(made.plan.asset("tasks/tiny").spec, asset=root / paths.TASKS.format(tasks="tiny"))
    made.run()
    return made


def subject(job: PruneJob, dtype: torch.dtype = torch.bfloat16) -> Subject:
    return Subject(job.root / "assets/model", load("models", "llama"), job.weights, dtype, torch.bfloat16, batch_size=4)


def run(job: PruneJob, parts: Path, suite: str = "zeroshot", **params: Any) -> list[Score]:
    entry = job.plan.config.suites[suite]
    plugin = configured("suites", entry.model_copy(update={"params": entry.params | params}))
    directory = (job.root / paths.TASKS.format(tasks="tiny")).parent
    scores: list[Score] = plugin.run(subject(job), {"tasks/tiny": directory}, Parts(parts))
    return scores


@pytest.fixture(scope="module")
def exported(job: PruneJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("exported") / "model"
    export(str(job.weights.parent), directory)
    return directory


def direct(
    model: Path,
    definitions: dict[str, dict[str, Any]],
    folder: Path,
    samples: list[int] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """lm-eval called as a user would, on a model directory and on tasks in YAML files that include the stock ones.

    Task by task: several in one call share batches, and in bf16 other batches may turn an answer.
    """
    for task, config in definitions.items():
        rows = config.pop("rows")
        files = {split: str(write_jsonl(folder / f"{task}.{split}.jsonl", of)) for split, of in rows.items()}
        local: dict[str, Any] = {"dataset_path": "json", "dataset_name": None, "training_split": None}
        local |= {f"{split}_split": split if split in rows else None for split in ("validation", "test")}
        local["dataset_kwargs"] = {"data_files": files, "cache_dir": str(folder / "cache")}
        included = {"include": str(DEFINITIONS / config.pop("stock")), "task": f"direct_{task}", **local, **config}
        (folder / f"{task}.yaml").write_text(yaml.safe_dump(included))
    results: dict[str, Any] = {}
    for task in (f"direct_{task}" for task in definitions):
        results |= lm_eval.simple_evaluate(
            "hf",
            {"pretrained": str(model), "dtype": "bfloat16"},
            [task],
            batch_size=4,
            device="cpu",
            samples={task: samples} if samples else None,
            task_manager=TaskManager(include_path=folder, include_defaults=False),
            **options,
        )["results"]
    return results


@pytest.mark.parametrize("limit", [None, LIMIT])
def test_numbers_are_those_of_lm_eval_on_the_exported_model(
    limit: int | None, job: PruneJob, exported: Path, tmp_path: Path
) -> None:
    scores = {(score.task, score.metric): score for score in run(job, tmp_path / "parts", limit=limit)}
    definitions = {task: {"stock": TASKS[task]["stock"], "rows": {TASKS[task]["split"]: ROWS[task]}} for task in SEVEN}
    drawn = sorted(random.Random(SEED).sample(range(8), LIMIT))
    results = direct(exported, definitions, tmp_path, drawn if limit else None)
    compared = 0
    for task in SEVEN:
        for metric in ("acc", "acc_norm"):
            if f"{metric},none" in (theirs := results[f"direct_{task}"]):
                ours = scores.pop((task, metric))
                assert (ours.value, ours.stderr) == (theirs[f"{metric},none"], theirs[f"{metric}_stderr,none"])
                assert ours.n == (limit or 8)
                compared += 1
    assert compared == 7 + 4
    (mean,) = scores.values()
    values = [results[f"direct_{task}"]["acc,none"] for task in SEVEN]
    assert 0 < mean.value < 1 and len(set(values)) > 2, "else equal numbers would say little"
    assert (mean.task, mean.metric, mean.n) == ("mean", "acc", 7 * (limit or 8))
    assert mean.value == pytest.approx(sum(values) / 7, abs=1e-15)
    # An accuracy of 0 or 1, whose own error is 0, counts with that of Wilson's interval.
    theirs = [results[f"direct_{task}"] for task in SEVEN]
    errors = [task["acc_stderr,none"] or wilson_error(task["acc,none"], limit or 8) for task in theirs]
    assert mean.stderr == pytest.approx(math.hypot(*errors) / 7, abs=1e-15)


def test_the_subjects_of_mmlu_are_pooled_as_lm_eval_pools_its_group(
    job: PruneJob, exported: Path, tmp_path: Path
) -> None:
    (score,) = run(job, tmp_path / "parts", "mmlu")
    definitions = {
        f"mmlu_{subject}": {
            "stock": f"mmlu/default/mmlu_{subject}.yaml",
            "rows": {"test": ROWS[f"mmlu_{subject}"], "dev": mmlu("examples")[:5]},
        }
        for subject in ("anatomy", "virology")
    }
    results = direct(exported, definitions, tmp_path, num_fewshot=3)
    assert score.value == pytest.approx(
        (results["direct_mmlu_anatomy"]["acc,none"] * 8 + results["direct_mmlu_virology"]["acc,none"] * 3) / 11
    )
    assert score.n == 11
    assert score.details == {name: results[f"direct_{name}"]["acc,none"] for name in ("mmlu_anatomy", "mmlu_virology")}


def test_what_is_generated_is_what_lm_eval_generates(job: PruneJob, exported: Path) -> None:
    task = stock_task("gsm8k", "gsm8k/gsm8k.yaml", {"test": ROWS["gsm8k"][:3], "train": ROWS["gsm8k"][3:]})
    task.build_all_requests(rank=0, world_size=1)
    theirs = stock_model(str(exported))
    expected = theirs.generate_until(task.instances, disable_tqdm=True)
    assert all(expected), "nothing was generated"
    assert Harness(subject(job)).generate_until(task.instances) == expected


def test_the_same_twice_gives_the_same_bits(job: PruneJob, tmp_path: Path) -> None:
    assert run(job, tmp_path / "one", limit=LIMIT) == run(job, tmp_path / "two", limit=LIMIT)


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_the_whole_model_is_the_streamed_one(name: str, tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path, name)
    streamed = tiny.open_model(directory, name, torch.bfloat16)
    tokens = tiny.tokens(2, 24)
    with torch.no_grad():
        hidden, calls = streamed.embed(tokens)
        for index, call in enumerate(calls):
            with streamed.block(index) as block:
                output = block(hidden, *call.args, **call.kwargs)
                hidden = output[0] if isinstance(output, tuple) else output
        expected = streamed.logits(tokens, hidden)
        assert torch.equal(
            tiny.open_model(directory, name, torch.bfloat16).whole()(tokens.to(tiny.DEVICE)).logits, expected
        )


@pytest.mark.parametrize("name", ["llama", "opt", "gemma2"])
def test_a_model_that_one_gpu_has_no_room_for_answers_as_in_one_place(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU stands for two GPUs: tensors that move between them stay in place, but pass the same hooks."""
    directory, tokens = tiny.make_model(tmp_path, name, blocks=3), tiny.tokens(2, 24)
    expected = tiny.open_model(directory, name, torch.bfloat16).whole()(tokens.to(tiny.DEVICE)).logits
    cpu, block = torch.device("cpu"), 2 * 16_000
    monkeypatch.setattr(model, "cards", lambda device: [(device, block), (cpu, 9 * block)])
    whole = tiny.open_model(directory, name, torch.bfloat16).whole()
    placed = {int(tail) for path in whole.hf_device_map if (tail := path.rpartition(".")[2]).isdigit()}
    assert placed == {0, 1, 2}, "it was not spread"
    assert torch.equal(whole(tokens.to(tiny.DEVICE)).logits, expected)
    inside = whole.get_submodule(load("models", tiny.ARCHITECTURES[name][0]).blocks)
    assert all(hasattr(block, "_hf_hook") for block in inside)


def test_lm_eval_takes_a_spread_model(job: PruneJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run(job, tmp_path / "one", limit=LIMIT)
    monkeypatch.setattr(model, "cards", lambda device: [(device, 0), (torch.device("cpu"), float("inf"))])
    assert run(job, tmp_path / "spread", limit=LIMIT) == expected


def test_a_model_for_which_no_gpu_has_room_is_no_failed_cell(
    job: PruneJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "cards", lambda device: [(device, 0)])
    with pytest.raises(PrunebenchError, match="show more of them"):
        run(job, tmp_path / "parts", limit=LIMIT)


def test_a_model_that_answers_nan_fails(job: PruneJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval itself would score it: the index of the largest of several NaN is 0."""
    broken = tmp_path / "model"
    export(str(job.weights.parent), broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = torch.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    whole = tiny.open_model(broken, dtype=torch.bfloat16).whole()
    monkeypatch.setattr(Subject, "whole", lambda _: whole)
    with pytest.raises(CellFailure, match=r"log-likelihood is NaN or infinite: .*destroyed"):
        run(job, tmp_path / "parts", limit=LIMIT)
    task = stock_task("gsm8k", "gsm8k/gsm8k.yaml", {"test": ROWS["gsm8k"]})
    task.build_all_requests(rank=0, world_size=1)
    with pytest.raises(CellFailure, match=r"a logit is NaN or infinite: .*destroyed"):
        Harness(subject(job)).generate_until(task.instances)


def test_a_tokenizer_that_is_larger_than_the_model_is_named(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model", tokenizer=reading_tokenizer(), vocab_size=8)
    model = Harness(Subject(directory, load("models", "llama"), None, torch.bfloat16, None, batch_size=4))
    message = rf"the tokenizer of {directory} makes of a prompt holds token ids .*, but the model knows 0 to 7"
    with pytest.raises(PrunebenchError, match=message):
        model.loglikelihood(requests_of("boolq"))
    with pytest.raises(PrunebenchError, match=message):
        model.tok_batch_encode(["a question"])


def requests_of(name: str) -> list[Any]:
    """lm-eval's requests of a task on the rows of this file."""
    task = wired(name)
    task.build_all_requests(rank=0, world_size=1)
    return list(task.instances)


def shortened(job: PruneJob, directory: Path, context: int) -> Subject:
    """The pruned model with a shorter context."""
    export(str(job.weights.parent), directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"max_position_embeddings": context}))
    return Subject(directory, load("models", "llama"), None, torch.bfloat16, torch.bfloat16, batch_size=4)


def lost(task: str, context: int) -> dict[str, int]:
    """The requests and tokens that do not fit into `context` tokens and one more, which is only predicted."""
    tokenizer = reading_tokenizer()
    asked = requests(wired(task))
    lengths = [sum(len(tokenizer(text)["input_ids"]) for text in args) for _, _, args in asked]
    over = [length - context - 1 for length in lengths if length > context + 1]
    return {"of": len(asked), "requests": len(over), "tokens": sum(over)}


CONTEXT = 32


def test_what_is_cut_off_is_counted_and_changes_nothing(
    job: PruneJob, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "prunebench")
    model = shortened(job, tmp_path / "model", CONTEXT)
    entry = job.plan.config.suites["zeroshot"]
    directory = (job.root / paths.TASKS.format(tasks="tiny")).parent
    plugin = configured("suites", entry.model_copy(update={"params": entry.params | {"tasks": ["boolq", "arc_easy"]}}))
    scores = plugin.run(model, {"tasks/tiny": directory}, Parts(tmp_path / "pieces"))
    expected = {task: lost(task, CONTEXT) for task in ("boolq", "arc_easy")}
    assert 0 < expected["boolq"]["requests"] < expected["boolq"]["of"] == 16
    assert 0 < expected["arc_easy"]["requests"] < expected["arc_easy"]["of"] == 32
    for score in scores:
        assert score.details == ({} if score.task == "mean" else {"truncated": expected[score.task]})
    theirs = stock_model(str(tmp_path / "model"))
    assert theirs.max_length == CONTEXT
    for task in expected:
        values = {result["metric"]: result["value"] for result in results(theirs, wired(task))}
        assert values == {score.metric: score.value for score in scores if score.task == task}
    for task, cut in expected.items():
        said = f"{task}: {cut['requests']} of {cut['of']} requests are longer than the model's context: their first"
        assert caplog.text.count(f"{said} tokens were cut off, {cut['tokens']} in all") == 1
    caplog.clear()
    assert plugin.run(model, {"tasks/tiny": directory}, Parts(tmp_path / "pieces")) == scores
    assert "resuming: boolq" in caplog.text and "boolq: " in caplog.text.replace("resuming: boolq", "")


def test_nothing_is_said_where_nothing_is_cut_off(
    job: PruneJob, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "prunebench")
    assert all(not score.details for score in run(job, tmp_path / "parts", tasks=["boolq", "arc_easy"]))
    assert not caplog.records


def test_prompts_of_generated_answers_are_counted(job: PruneJob, tmp_path: Path) -> None:
    context = 256 + 25
    task = stock_task("gsm8k", "gsm8k/gsm8k.yaml", {"test": ROWS["gsm8k"][:3], "train": ROWS["gsm8k"][3:]})
    task.build_all_requests(rank=0, world_size=1)
    room = context - Harness(shortened(job, tmp_path / "whole", 512)).max_gen_toks
    tokenizer = reading_tokenizer()
    lengths = [len(tokenizer(request.args[0])["input_ids"]) for request in task.instances]
    over = [length - room for length in lengths if length > room]
    assert over, lengths
    harness = Harness(shortened(job, tmp_path / "model", context))
    texts = harness.generate_until(task.instances)
    assert (harness.cut.of, harness.cut.requests, harness.cut.tokens) == (3, len(over), sum(over))
    theirs = stock_model(str(tmp_path / "model"))
    assert theirs.generate_until(task.instances, disable_tqdm=True) == texts


def test_what_has_no_room_at_all_fails_the_cell(job: PruneJob, tmp_path: Path) -> None:
    harness = Harness(shortened(job, tmp_path / "model", 4))
    task = wired("arc_easy")
    task.build_all_requests(rank=0, world_size=1)
    with pytest.raises(CellFailure, match=r"an answer has \d+ tokens, the model's context 4"):
        harness.loglikelihood(task.instances)
    task = stock_task("gsm8k", "gsm8k/gsm8k.yaml", {"test": ROWS["gsm8k"]})
    task.build_all_requests(rank=0, world_size=1)
    with pytest.raises(CellFailure, match="context of 4 tokens has no room for a generated answer"):
        harness.generate_until(task.instances)


@pytest.mark.parametrize("task", ["rte", "arc_easy", "mmlu_anatomy"])
def test_an_accuracy_on_one_row_has_no_error(task: str) -> None:
    """lm-eval says N/A, which is no number."""
    one = stock_task(task, TASKS[task]["stock"], {TASKS[task]["split"]: ROWS[task][:1]})
    (result, *_) = results(DummyLM(), one)
    assert (result["n"], result["stderr"]) == (1, None)


@pytest.mark.parametrize(
    ("errors", "sizes", "pooled", "averaged"),
    [
        ([None, None], [1, 1], None, None),
        ([None, 0.25], [1, 4], 0.25 * math.sqrt(3 * 4 / (5 - 2) / 5), None),
        ([0.0, 0.0], [4, 4], 0.0, 0.0),
    ],
)
def test_errors_of_single_rows_among_others(
    errors: list[float | None], sizes: list[int], pooled: float | None, averaged: float | None
) -> None:
    parts = [{"metric": "acc", "value": 0.5, "stderr": error, "n": n} for error, n in zip(errors, sizes, strict=True)]
    none = {"requests": 0, "of": 1, "tokens": 0}
    (score,) = lm_eval_suite._scores("task", {str(n): {"results": [part], "cut": none} for n, part in enumerate(parts)})
    assert score.stderr == (None if pooled is None else pytest.approx(pooled))
    (mean,) = lm_eval_suite.mean_of_tasks([Score("task", **part) for part in parts])
    assert mean.stderr == averaged


def test_a_task_without_a_wrong_answer_adds_to_the_error_of_the_mean() -> None:
    scores = [Score("sure", "acc", 1.0, 0.0, 8), Score("other", "acc", 0.5, 0.1, 8)]
    (mean,) = lm_eval_suite.mean_of_tasks(scores)
    # Wilson's interval of 8 right answers of 8 is from 8 / (8 + 1.96^2) to 1.
    assert mean.stderr == pytest.approx(math.hypot((1 - 8 / (8 + 1.959964**2)) / 1.959964, 0.1) / 2)
