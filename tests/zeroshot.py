"""Rows of zero-shot tasks made by hand in the form of the real data sets, and a tiny model that can read them."""

import json
from pathlib import Path
from typing import Any

import datasets
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from prunebench.suites.harness import DEFINITIONS

Row = dict[str, Any]

READER: dict[str, Any] = {"vocab_size": 384, "max_position_embeddings": 512}
"""Sizes of a tiny model that goes with `reading_tokenizer`."""

_NAMES = ("Ann", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hal")
_THINGS = ("a river", "the old stove", "some wet clay", "two maps", "a kite", "the north wall", "a bell", "salt")
_ANSWERS = [(name, thing, index % 2) for index, (name, thing) in enumerate(zip(_NAMES, _THINGS, strict=True))]


def _options(thing: str) -> dict[str, list[str]]:
    return {"text": [f"it moves {thing}", "it stays", f"it is under {thing}", "nobody knows"], "label": list("ABCD")}


def mmlu(subject: str) -> list[Row]:
    """Rows of one subject, which is the third choice in all of them."""
    return [
        {"question": f" What did {name} find? ", "choices": [thing, "rain", subject, "none"], "answer": index}
        for name, thing, index in _ANSWERS
    ]


TASKS: dict[str, dict[str, Any]] = {
    "boolq": {"stock": "super_glue/boolq/default.yaml", "split": "validation"},
    "rte": {"stock": "glue/rte/default.yaml", "split": "validation"},
    "hellaswag": {"stock": "hellaswag/hellaswag.yaml", "split": "validation"},
    "winogrande": {"stock": "winogrande/default.yaml", "split": "validation"},
    "arc_easy": {"stock": "arc/arc_easy.yaml", "split": "test"},
    "arc_challenge": {"stock": "arc/arc_challenge.yaml", "split": "test"},
    "openbookqa": {"stock": "openbookqa/openbookqa.yaml", "split": "test"},
    "piqa": {"stock": "piqa/piqa.yaml", "split": "validation"},
    "lambada_openai": {"stock": "lambada/lambada_openai.yaml", "split": "test"},
    "mmlu_anatomy": {"stock": "mmlu/default/mmlu_anatomy.yaml", "split": "test"},
    "gsm8k": {"stock": "gsm8k/gsm8k.yaml", "split": "test"},
}
"""The tasks that the catalog wires, with the split that lm-eval evaluates on."""

ROWS: dict[str, list[Row]] = {
    "boolq": [
        {"passage": f"{name} -- {name} has {thing}.", "question": f"does {name} have {thing}", "label": index}
        for name, thing, index in _ANSWERS
    ],
    "rte": [
        {"sentence1": f"{name} sold {thing}.", "sentence2": f"{name} has {thing}.", "label": index}
        for name, thing, index in _ANSWERS
    ],
    "hellaswag": [
        {
            "activity_label": "Making tea",
            "ctx_a": f"{name} takes {thing}.",
            "ctx_b": "she",
            "endings": [f"drops {thing}. [step] Then she rests", "sings.", "goes home.", f"paints {thing}."],
            "label": str(index),
        }
        for name, thing, index in _ANSWERS
    ],
    "winogrande": [
        {"sentence": f"{name} met Zoe and _ had {thing}.", "option1": name, "option2": "Zoe", "answer": str(index + 1)}
        for name, thing, index in _ANSWERS
    ],
    "arc_easy": [
        {
            "id": name,
            "question": f"What does {name} do to {thing}?",
            "choices": _options(thing),
            "answerKey": "BC"[index],
        }
        for name, thing, index in _ANSWERS
    ],
    "openbookqa": [
        {"id": name, "question_stem": f"{name} heats {thing}, so", "choices": _options(thing), "answerKey": "AD"[index]}
        for name, thing, index in _ANSWERS
    ],
    "piqa": [
        {
            "goal": f"How does {name} lift {thing}?",
            "sol1": f"{name} pulls {thing}.",
            "sol2": "By a rope.",
            "label": index,
        }
        for name, thing, index in _ANSWERS
    ],
    "lambada_openai": [{"text": f"{name} had {thing}, and gave {thing} to {name}"} for name, thing, _ in _ANSWERS],
    "gsm8k": [
        {"question": f"{name} has {thing} and {index + 11} more?", "answer": f"It is one more. #### {index + 12}"}
        for name, thing, index in _ANSWERS
    ],
    "mmlu_anatomy": mmlu("anatomy"),
    "mmlu_virology": mmlu("virology")[:3],
}
ROWS["arc_challenge"] = ROWS["arc_easy"][::-1]


def stock(definition: str, rows: list[Row]) -> ConfigurableTask:
    """lm-eval's own task with nothing changed but that its data set, all splits of it, are `rows`."""

    class Stock(ConfigurableTask):  # type: ignore[misc]
        def download(self, *_: Any, **__: Any) -> None:
            self.dataset = dict.fromkeys(("train", "validation", "test", "dev"), datasets.Dataset.from_list(rows))

    config = load_yaml(DEFINITIONS / definition)
    return Stock(config={key: value for key, value in config.items() if key not in ("tag", "task_list")})


def requests(task: ConfigurableTask) -> list[Any]:
    """Everything that the model is asked: document, index of the choice, prompt and continuation."""
    task.config.num_fewshot = 0
    task.build_all_requests(rank=0, world_size=1)
    return [(request.doc_id, request.idx, request.args) for request in task.instances]


def asks_the_same(ours: ConfigurableTask, theirs: ConfigurableTask) -> int:
    """Assert that two tasks have the same prompts, choices and targets; how many documents they have."""
    assert requests(ours) == requests(theirs)
    for mine, other in zip(ours.eval_docs, theirs.eval_docs, strict=True):
        assert ours.doc_to_text(mine) == theirs.doc_to_text(other)
        assert ours.doc_to_target(mine) == theirs.doc_to_target(other)
        if ours.OUTPUT_TYPE == "multiple_choice":
            assert ours.doc_to_choice(mine) == theirs.doc_to_choice(other)
    return len(ours.eval_docs)


def write_jsonl(path: Path, rows: list[Row]) -> Path:
    """Write `rows` to `path`, one a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def bundle(directory: Path, *tasks: str) -> dict[str, Any]:
    """A catalog entry for `tasks`, whose rows it writes into `directory`; mmlu gets two subjects, and examples."""
    entries: dict[str, Any] = {}
    for task in tasks:
        if task == "mmlu":
            for subject in ("anatomy", "virology"):
                write_jsonl(directory / f"mmlu/{subject}/test.jsonl", ROWS[f"mmlu_{subject}"])
                write_jsonl(directory / f"mmlu/{subject}/dev.jsonl", mmlu("examples")[:5])
            rows = {split: f"mmlu/*/{split}.jsonl" for split in ("test", "dev")}
            entries[task] = {"stock": "mmlu/default/mmlu_*.yaml", "rows": rows}
        else:
            split = TASKS[task]["split"]
            write_jsonl(directory / task / f"{split}.jsonl", ROWS[task])
            entries[task] = {"stock": TASKS[task]["stock"], "rows": {split: f"{task}/{split}.jsonl"}}
    return {"title": "Tiny tasks", "source": {"kind": "path", "path": str(directory)}, "tasks": entries}


def reading_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that loses no character, unlike that of `tiny`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    text = [json.dumps(row) for rows in ROWS.values() for row in rows]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=384, special_tokens=["<pad>", "<s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(text, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="<s>", pad_token="<pad>", model_max_length=512
    )
