"""The adapter to lm-eval: its stock tasks on our rows, and its model class on our model.

Prompts, choices, targets and metrics are lm-eval's own. So numbers equal those of lm-eval on the exported model, up to
rounding, because choices of one prompt share the pass over it (see `continuations`).
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import lm_eval.api.task
import lm_eval.tasks
import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._yaml_loader import load_yaml
from lm_eval.utils import handle_non_serializable
from numpy.typing import ArrayLike
from torch import Tensor
from tqdm import tqdm
from transformers import LogitsProcessorList

from prunebench.assets.tasks import Row, draw
from prunebench.assets.tokens import check_ids, encoding, load_tokenizer, of_tokenizer
from prunebench.engine.subject import Subject
from prunebench.errors import CellFailure, PrunebenchError
from prunebench.runtime.progress import within
from prunebench.suites.continuations import log_likelihoods

# lm-eval's warnings are about options of its own command line; this module checks what matters.
logging.getLogger("lm_eval").setLevel(logging.ERROR)
datasets.disable_progress_bars()
# Its bars have no names; the progress of a task is told by `Share`.
lm_eval.api.task.tqdm = partial(tqdm, disable=True)

DEFINITIONS = Path(lm_eval.tasks.__file__).parent
METRICS = ("acc", "acc_norm", "exact_match")
UNFILTERED = "none"
"""lm-eval's name for answers that go through no filter."""
SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")
FEWSHOT_SEED = 1234
"""The seed that lm-eval uses by default."""


@dataclass
class Cut:
    """The counts of requests that lm-eval cut because they are longer than the model's context."""

    of: int = 0
    """all requests"""
    requests: int = 0
    """requests longer than the context, which lost their first tokens"""
    tokens: int = 0
    """tokens that were cut off"""

    def count(self, lengths: Collection[int], most: int) -> None:
        """Add requests of `lengths` tokens, of which the model sees at most `most`."""
        self.of += len(lengths)
        over = [length - most for length in lengths if length > most]
        self.requests += len(over)
        self.tokens += sum(over)


@dataclass
class Share:
    """The part of a task that requests of a model are, so that their progress can be shown."""

    label: str = ""
    rows: int = 0
    begin: float = 0.0
    size: float = 1.0
    total: int = 0
    """The number of requests."""
    done: int = 0

    def expect(self, total: int) -> None:
        """Begin to count `total` requests."""
        self.total, self.done = total, 0

    def count(self, requests: int) -> None:
        """Report that so many more requests are answered."""
        self.done += requests
        part = min(1.0, self.done / max(1, self.total))
        within(self.begin + self.size * part, f"{self.label}, {int(part * self.rows)} of {self.rows} rows")


class Harness(HFLM):  # type: ignore[misc]  # lm-eval has no types
    """lm-eval's model class, with checks.

    The original takes a NaN for the best answer, draws progress bars into log files, and cuts requests to the model's
    context in silence. This one raises CellFailure, draws no bars there, and counts the cuts in `cut`.
    """

    def __init__(self, subject: Subject) -> None:
        tokenizer = load_tokenizer(subject.directory)
        super().__init__(subject.whole(), tokenizer=tokenizer, batch_size=subject.batch_size)
        self.cut = Cut()
        self.share = Share()
        self._vocabulary = int(self.model.get_input_embeddings().num_embeddings)
        self._subject = subject

    def _check_ids(self, ids: ArrayLike) -> None:
        """Raise PrunebenchError unless the model has an embedding for all `ids` of prompts."""
        check_ids(np.asarray(ids), self._vocabulary, of_tokenizer(self._subject.directory, "a prompt"))

    def tok_encode(self, *args: Any, **options: Any) -> Any:
        """Encode a prompt as token ids. Raises PrunebenchError if the tokenizer cannot encode it."""
        with encoding(self.tokenizer):
            return super().tok_encode(*args, **options)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Compute the log-likelihood of each continuation, and whether greedy decoding gives it.

        Raises CellFailure if a log-likelihood is not finite.
        """
        answers: list[tuple[float, bool]] = super().loglikelihood(requests, True)
        if not all(math.isfinite(likelihood) for likelihood, _ in answers):
            raise CellFailure(f"a log-likelihood is NaN or infinite: {self._subject.cause()}")
        return answers

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Continue each prompt by greedy decoding. Raises CellFailure if a logit is not finite, or the context full."""
        for request in requests:
            room = self.max_length - request.args[1].get("max_gen_toks", self.max_gen_toks)
            if room <= 0:
                raise CellFailure(f"the model's context of {self.max_length} tokens has no room for a generated answer")
        self.share.expect(len(requests))
        texts: list[str] = super().generate_until(requests, True)
        return texts

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], *args: Any, **options: Any
    ) -> list[tuple[float, bool]]:
        self._check_ids([token for _, context, continuation in requests for token in (*context, *continuation)])
        longest = max((len(continuation) for _, _, continuation in requests), default=0)
        if longest > self.max_length:
            raise CellFailure(f"an answer has {longest} tokens, the model's context {self.max_length}")
        # The last token is only predicted, so a request may have one token more than the context.
        self.cut.count([len(context) + len(continuation) for _, context, continuation in requests], self.max_length + 1)
        pairs = [(context, continuation) for _, context, continuation in requests]
        self.share.expect(len(pairs))
        return log_likelihoods(
            self.model, pairs, batch_size=self.batch_size, context=self.max_length, answered=self.share.count
        )

    def tok_batch_encode(
        self, strings: list[str], padding_side: str = "left", left_truncate_len: int | None = None, **options: Any
    ) -> tuple[Tensor, Tensor]:
        """Encode prompts as token ids and attention mask [strings, longest]; keep the last `left_truncate_len`."""
        with encoding(self.tokenizer):
            ids, mask = super().tok_batch_encode(strings, padding_side, None, **options)
        self._check_ids(ids)
        if left_truncate_len:
            self.cut.count(mask.sum(dim=1).tolist(), left_truncate_len)
            ids, mask = ids[:, -left_truncate_len:], mask[:, -left_truncate_len:]
        return ids, mask

    def _model_generate(self, context: Tensor, max_length: int, stop: list[str], **options: Any) -> Tensor:
        generated: Tensor = super()._model_generate(
            context, max_length, stop, logits_processor=LogitsProcessorList([self._subject.check_logits]), **options
        )
        self.share.count(len(context))
        return generated


def stock_task(
    name: str,
    definition: str,
    rows: Mapping[str, list[Row]],
    *,
    num_fewshot: int = 0,
    limit: int | None = None,
    seed: int = 0,
) -> ConfigurableTask:
    """Make lm-eval's task in the YAML file `definition` (below lm_eval/tasks), on `rows` by split, not its own data.

    The task is evaluated on its test split, or on its validation split if `rows` has no test split. `limit` rows are
    drawn by `seed`; None, or more than there are, means all. Examples come from all rows of their split.
    Raises PrunebenchError if lm-eval has no such file, the task measures no accuracy, or `rows` lacks a split.
    """
    try:
        stock = load_yaml(DEFINITIONS / definition)
    except FileNotFoundError as error:
        raise PrunebenchError(f"lm-eval has no task file {definition}: correct 'stock' of {name!r}") from error
    evaluated = stock.get("test_split") if stock.get("test_split") in rows else stock.get("validation_split")
    _check_has(name, evaluated, rows, "evaluates on")
    if num_fewshot:
        _check_has(name, stock.get("fewshot_split") or stock.get("training_split"), rows, "takes examples from")
    drawn = {**rows, evaluated: draw(rows[evaluated], limit, seed)}
    data = {split: datasets.Dataset.from_list(part) for split, part in drawn.items()}
    config = {key: value for key, value in stock.items() if key not in ("tag", "group", "task_list")}
    config |= {key: None for key in SPLITS if stock.get(key) not in rows}
    config |= {"num_fewshot": num_fewshot, "custom_dataset": lambda **_: data}
    config["metric_list"] = [metric for metric in stock.get("metric_list", []) if metric["metric"] in METRICS]
    if not config["metric_list"]:
        raise PrunebenchError(f"lm-eval's task {name} does not measure {' or '.join(METRICS)}: leave it out")
    task = ConfigurableTask(config=config)
    task.set_fewshot_seed(FEWSHOT_SEED)
    return task


def counted(
    model: Harness,
    task: ConfigurableTask,
    *,
    part: tuple[int, int] = (0, 1),
    record: bool = False,
    samples: bool = False,
) -> dict[str, Any]:
    """Evaluate `task`; returns its `results`, and as `cut` the requests that were cut to the context (see `Cut`).

    With `record` the piece has lm-eval's own results too, as `lm_eval` (JSON), and with `samples` its records of rows.
    `part` is (index, number) of `task` among the parts of a larger task, for the progress.
    """
    model.cut = Cut()
    index, number = part
    rows = len(task.eval_docs)
    model.share = Share(task.config.task, rows, index / number, 1 / number)
    evaluated = _evaluated(model, task, samples)
    piece = {"results": _accuracies(evaluated, task), "cut": asdict(model.cut)}
    return {**piece, "lm_eval": _plain(evaluated, task)} if record else piece


def results(model: LM, task: ConfigurableTask) -> list[dict[str, Any]]:
    """Evaluate `task`; returns `metric`, `value`, `stderr` (None for one row) and `n` (rows) for each accuracy.

    Where an answer is generated, `acc` is the fraction of rows whose answer matches, as the task's first filter reads
    it. The accuracies by other filters follow under the names of these.
    """
    return _accuracies(_evaluated(model, task, samples=False), task)


def _evaluated(model: LM, task: ConfigurableTask, samples: bool) -> dict[str, Any]:
    evaluated: dict[str, Any] | None = evaluate(model, {"tasks": {task.config.task: task}}, log_samples=samples)
    assert evaluated is not None  # it is None on all but the first of several processes
    return evaluated


def _accuracies(evaluated: Mapping[str, Any], task: ConfigurableTask) -> list[dict[str, Any]]:
    name = task.config.task
    scores, n = evaluated["results"][name], evaluated["n-samples"][name]["effective"]
    filters = [entry["name"] for entry in task.config.filter_list or [{"name": UNFILTERED}]]
    return [
        {
            "metric": ("acc" if metric == "exact_match" else metric) + (f"_{reader}" if reader != filters[0] else ""),
            "value": scores[f"{metric},{reader}"],
            "stderr": _number(scores[f"{metric}_stderr,{reader}"]),
            "n": n,
        }
        for metric in task.aggregation()
        for reader in filters
    ]


def _plain(evaluated: Mapping[str, Any], task: ConfigurableTask) -> dict[str, Any]:
    """Return lm-eval's results as JSON, without the function that gave it our rows."""
    config = {key: value for key, value in evaluated["configs"][task.config.task].items() if key != "custom_dataset"}
    plain: dict[str, Any] = json.loads(
        json.dumps({**evaluated, "configs": {task.config.task: config}}, default=handle_non_serializable)
    )
    return plain


def _number(error: float | str) -> float | None:
    """Return a standard error. In place of that of a single row lm-eval has the text N/A."""
    return None if isinstance(error, str) else error


def _check_has(name: str, split: str | None, rows: Mapping[str, list[Row]], what: str) -> None:
    """Raise PrunebenchError if there are no rows of `split`."""
    if split not in rows:
        raise PrunebenchError(
            f"lm-eval's task {name} {what} split {split!r}, but there are rows of {', '.join(rows)} only: "
            f"add them under 'rows' in the catalog"
        )
