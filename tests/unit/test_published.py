"""The published values that the package ships: complete, in its words, and with a word on each that cannot be right."""

import csv
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from prunebench import registry
from prunebench.cell import Cell
from prunebench.patterns import parse_pattern
from prunebench.plan.checks import load_config
from prunebench.published.match import Match, matches
from prunebench.published.values import VALUES, Published, load_values
from prunebench.tables.published import MEAN_POINTS, RELATIVE, TASK_POINTS
from studies import SHAPE, STUDY, changed

SLUGS = (
    "opt_125m opt_1_3b opt_6_7b opt_13b opt_30b opt_66b llama_7b llama_13b llama_30b llama_65b llama2_7b llama2_13b "
)
SLUGS += "llama2_70b llama3_8b llama3_70b vicuna_7b"
BILLIONS = {"opt_125m": 0.125, "opt_1_3b": 1.3, "opt_6_7b": 6.7, "opt_30b": 30, "opt_66b": 66}
BILLIONS |= {"llama_7b": 7, "llama_13b": 13, "llama_30b": 33, "llama_65b": 65}
BILLIONS |= {"llama2_7b": 7, "llama2_13b": 13, "llama2_70b": 70}
Suspects = Callable[[], Iterator[Published]]


def test_all_of_them_are_there_in_the_words_of_the_benchmark() -> None:
    values = load_values()
    assert len(values) == 893
    assert set(SLUGS.split()) <= {value.model for value in values}
    ours = {"dense", "magnitude", "wanda", "sparsegpt", "sparsellm", "ria"}
    assert ours <= {value.method for value in values} and ours <= set(registry.names("methods"))
    allocators = {"uniform", "owl", "dlp", "dsa", "besa", "alphapruning", "er", "er_plus", "global", "atp"}
    assert allocators <= {value.allocator for value in values} and allocators <= set(registry.names("allocators"))
    assert {value.pattern for value in values} == {"unstructured", "2of4", "4of8", "1of4"}
    assert {value.task for value in values if value.metric == "perplexity"} == {"wikitext2", "ptb", "c4", "unnamed"}


def test_what_is_printed_as_3_of_4_drops_three() -> None:
    found = {value.sparsity for value in load_values() if value.pattern == "1of4"}
    assert found == {"0.75"}
    for value in load_values():
        if value.pattern != "unstructured":
            assert value.sparsity == f"{float(parse_pattern(value.pattern).sparsity):.2f}"
        assert (value.method == "dense") == (value.sparsity == "0.00")
        assert value.source != "SparseLLM" or value.method == "dense" or value.layers == "first_half"
        assert not value.metric.startswith("acc") or value.value < 1


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [
        ("value", "5.6 8", "value"),
        ("pattern", "3:4", "is written 3of4 here, which keeps 3 of every 4"),
        ("metric", "ppl", "metric"),
        ("model", "LLaMA-7B", "model"),
        ("sparsity", "70", "outside"),
        ("grade", "", "grade"),
        ("calibration", "128xC4", "calibration"),
        ("url", "somewhere", "url"),
    ],
)
def test_a_line_that_is_none_is_refused(tmp_path: Path, column: str, text: str, message: str) -> None:
    with VALUES.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    path = tmp_path / "values.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerow({**lines[0], column: text})
    with pytest.raises(ValidationError, match=message):
        load_values(path)


def scores() -> list[Published]:
    return [value for value in load_values() if value.metric in ("perplexity", "acc", "acc_unstated")]


def pruned_beats_dense() -> Iterator[Published]:
    """Values that are no worse than the unpruned model's: perplexities in the same table, accuracies in any."""
    for value in scores():
        for dense in scores():
            if (
                value.method == "dense"
                or dense.method != "dense"
                or (dense.model, dense.task) != (value.model, value.task)
            ):
                continue
            if value.metric == "perplexity" and (dense.source, dense.table) == (value.source, value.table):
                if value.value <= dense.value:
                    yield value
            elif value.metric != "perplexity" and value.value >= dense.value:
                yield value


def dense_disagreements() -> Iterator[tuple[Published, Published]]:
    """Pairs of values of an unpruned model that differ by over 2%, on windows of one length (2048 if not stated)."""
    dense = [value for value in scores() if value.method == "dense" and value.metric == "perplexity"]
    for one, other in itertools.combinations(dense, 2):
        same = (one.model, one.task) == (other.model, other.task)
        stated = one.seqlen == 2048 or other.seqlen == 2048 or one.seqlen == other.seqlen
        comparable = same and stated and (one.seqlen or 2048) == (other.seqlen or 2048)
        if comparable and max(one.value, other.value) > 1.02 * min(one.value, other.value):
            yield one, other


def test_of_two_sources_that_disagree_on_the_dense_model_one_is_called_implausible() -> None:
    pairs = list(dense_disagreements())
    assert [pair for pair in pairs if not any(value.implausible for value in pair)] == []
    assert len(pairs) > 4


def sparser_is_better() -> Iterator[Published]:
    """Values that are better than those of the same cell at a lower sparsity in the same table."""
    lines: dict[tuple[str, ...], list[Published]] = defaultdict(list)
    for value in scores():
        if value.sparsity and value.pattern == "unstructured" and value.method != "dense":
            key = (value.source, value.table, value.model, value.method, value.allocator, value.task, value.metric)
            lines[key].append(value)
    for line in lines.values():
        for value in line:
            for less in line:
                worse = value.value < less.value if value.metric == "perplexity" else value.value > less.value
                if str(less.sparsity) < str(value.sparsity) and worse:
                    yield value


def larger_is_far_worse() -> Iterator[Published]:
    """Perplexities above three times those of a smaller model of the same family, in the same row of a table.

    Not with magnitude: where it breaks a model, how far says nothing.
    """
    for value in scores():
        for smaller in scores():
            same = ("source", "table", "method", "allocator", "pattern", "sparsity", "task", "metric")
            if all(getattr(value, key) == getattr(smaller, key) for key in same) and value.method != "magnitude":
                family = value.model.partition("_")[0] == smaller.model.partition("_")[0]
                larger = BILLIONS.get(smaller.model, 1e9) < BILLIONS.get(value.model, 0)
                if family and larger and value.metric == "perplexity" and value.value > 3 * smaller.value:
                    yield value


def methods_far_apart() -> Iterator[Published]:
    """Values of SparseGPT that are a quarter above Wanda's at 50%, with the same allocator in the same table."""
    for value in load_values():
        for wanda in load_values():
            same = ("source", "table", "model", "allocator", "pattern", "sparsity", "task", "metric")
            if (value.method, wanda.method, value.sparsity) == ("sparsegpt", "wanda", "0.50"):
                alike = all(getattr(value, key) == getattr(wanda, key) for key in same)
                if alike and value.metric.endswith("perplexity") and value.value > 1.25 * wanda.value:
                    yield value


@pytest.mark.parametrize("suspects", [pruned_beats_dense, sparser_is_better, larger_is_far_worse, methods_far_apart])
def test_what_cannot_be_right_says_so(suspects: Suspects) -> None:
    assert [value for value in suspects() if not value.implausible] == []


def test_what_is_called_implausible_is_suspect_or_a_time() -> None:
    rules = (pruned_beats_dense, larger_is_far_worse, methods_far_apart, sparser_is_better)
    suspect = [value for rule in rules for value in rule()]
    suspect += [value for pair in dense_disagreements() for value in pair]
    flagged = [value for value in load_values() if value.implausible]
    assert [value for value in flagged if value not in suspect and value.metric != "seconds"] == []
    assert {(of.source, of.model) for of in flagged} >= {
        ("OWL", "llama_65b"),
        ("OWL", "opt_6_7b"),
        ("DSA", "llama2_13b"),
    }
    assert all(value.implausible for value in load_values() if (value.source, value.metric) == ("SparseLLM", "seconds"))


def test_means_are_those_of_their_tasks() -> None:
    """The mean agrees with the tasks in every table that has them all and the mean."""
    rows: dict[tuple[str, ...], dict[str, Published]] = defaultdict(dict)
    for value in load_values():
        if value.metric == "acc":
            key = (value.source, value.table, value.model, value.method, value.pattern, str(value.sparsity))
            rows[key][value.task] = value
    whole = [row for row in rows.values() if "mean" in row and set(row["mean"].tasks) < set(row)]
    assert len(whole) == 6
    for row in whole:
        mean = sum(row[task].value for task in row["mean"].tasks) / len(row["mean"].tasks)
        assert mean == pytest.approx(row["mean"].value, abs=0.0002)


SEVEN = ["boolq", "rte", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "openbookqa"]
HUB = changed("models.llama2_7b", {**STUDY["models"]["tiny"], "shape": {**SHAPE, "blocks": 4}})
for _name in ("opt_30b", "llama_65b", "llama_7b"):
    HUB = changed(f"models.{_name}", HUB["models"]["llama2_7b"], HUB)
for _name in ("wikitext2", "ptb", "c4"):
    HUB = changed(f"corpora.{_name}", STUDY["corpora"]["text"], HUB)
ROWS = {"stock": "glue/rte/default.yaml", "rows": {"validation": "rte.jsonl"}}
HUB = changed("tasks.few.tasks", dict.fromkeys([*SEVEN, "piqa"], ROWS), HUB)
HUB = changed("allocators.half", {"allocator": "uniform", "layers": "first_half"}, HUB)
HUB = changed("methods.sparsellm_own", {"method": "sparsellm", "params": {"epochs": 9}}, HUB)
SUITES = {
    "ppl": {"suite": "perplexity", "params": {"corpora": ["wikitext2", "ptb", "c4"], "seqlen": 2048, "bos": True}},
    "ppl_4096": {"suite": "perplexity", "params": {"corpora": ["wikitext2"], "seqlen": 4096, "bos": True}},
    "ppl_bare": {"suite": "perplexity", "params": {"corpora": ["wikitext2"], "seqlen": 2048}},
    "ppl_tuning": {
        "suite": "perplexity",
        "params": {"corpora": ["wikitext2"], "seqlen": 2048, "bos": True, "split": "tuning"},
    },
    "ppl_some": {
        "suite": "perplexity",
        "params": {"corpora": ["wikitext2", "c4"], "seqlen": 2048, "windows": 256, "bos": True},
    },
    "seven": {"suite": "lm_eval", "params": {"data": "few", "tasks": SEVEN}},
    "seven_some": {"suite": "lm_eval", "params": {"data": "few", "tasks": SEVEN, "limit": 50}},
    "one": {"suite": "lm_eval", "params": {"data": "few", "tasks": ["boolq"]}},
    "other": {"suite": "lm_eval", "params": {"data": "few", "tasks": ["boolq", "piqa"], "num_fewshot": 5}},
}
HUB = changed("suites", {**HUB["suites"], **SUITES}, HUB)


def found(suite: str, **cell: str) -> dict[tuple[str, str, float], tuple[str, ...]]:
    """Differences by source, task and value."""
    of = {"method": "wanda", "allocator": "uniform", "pattern": "unstructured", "sparsity": "0.50"}
    whole = Cell(**{"model": "llama2_7b", "calibration": "c4_128x2048", "seed": 0, **of, **cell})
    listed: list[Match] = matches(load_config(HUB), whole, suite)
    return {(of.value.source, of.task, of.value.value): of.differences for of in listed}


DENSE = {"method": "dense", "sparsity": "0.00", "calibration": "none"}


def test_another_length_of_windows_is_a_difference() -> None:
    here = found("ppl", **DENSE)
    assert here["BESA", "wikitext2", 5.47] == ()
    assert here["Wanda", "wikitext2", 5.12] == ("windows of 4096 tokens, here of 2048",)
    assert here["SparseLLM", "ptb", 37.91] == here["SparseLLM", "c4", 7.26] == ()
    there = found("ppl_4096", **DENSE)
    assert there["Wanda", "wikitext2", 5.12] == ()
    assert there["BESA", "wikitext2", 5.47] == ("windows of 2048 tokens, here of 4096",)


def test_half_of_the_blocks_is_a_difference() -> None:
    cell = {"method": "sparsellm", "sparsity": "0.90", "model": "llama2_7b"}
    assert set(found("ppl", **cell, allocator="half").values()) == {()}
    whole = found("ppl", **cell)
    assert set(whole.values()) == {("the first half of the blocks pruned, here all blocks",)} and len(whole) == 3
    other_way = found("ppl", allocator="half")["BESA", "wikitext2", 6.92]
    assert other_way == ("all blocks pruned, here the first half of the blocks",)


def test_calibration_counts_where_text_is_looked_at() -> None:
    assert found("ppl")["BESA", "wikitext2", 6.92] == ()
    other = found("ppl", calibration="c4_64x2048")["BESA", "wikitext2", 6.92]
    assert other == ("calibration c4_128x2048, here c4_64x2048",)
    magnitude = found("ppl", method="magnitude", calibration="none", sparsity="0.70")
    assert magnitude["DLP", "wikitext2", 5e4] == ()
    # Magnitude with an allocator that looks at text does.
    owl = found("ppl", method="magnitude", allocator="owl", sparsity="0.70")
    assert owl["DLP", "wikitext2", 1.5e4] == ()
    assert owl["PALS", "wikitext2", 1.8e4] == ("windows of a length not stated", "calibration not stated")


def test_a_part_of_the_text_is_a_difference_but_for_c4() -> None:
    here = found("ppl_some", **DENSE)
    assert here["BESA", "wikitext2", 5.47] == ("all windows, here the first 256",)
    assert here["SparseLLM", "c4", 7.26] == ()


def test_another_split_or_no_bos_is_a_difference() -> None:
    bare = found("ppl_bare", **DENSE)["BESA", "wikitext2", 5.47]
    assert bare == ("with a BOS token in front of the text, as published codes tokenise, here without",)
    tuning = found("ppl_tuning", **DENSE)["BESA", "wikitext2", 5.47]
    assert tuning == ("on the test split, here on tuning",)


def test_a_suite_of_one_task_has_no_mean() -> None:
    assert {task for _, task, _ in found("one", calibration="c4_128x4096")} == {"boolq"}


def test_perplexity_per_word_is_a_difference() -> None:
    here = found("ppl", model="llama_7b", method="magnitude", calibration="none")
    assert here["ALS", "wikitext2", 42.26] == ("perplexity per word, here per token",)


def test_tasks_of_a_mean_are_compared_and_so_are_rows() -> None:
    here = found("seven")
    assert here["Wanda", "boolq", 0.75] == ("calibration c4_128x4096, here c4_128x2048",)
    assert found("seven", calibration="c4_128x4096")["Wanda", "boolq", 0.75] == ()
    sample = found("seven_some", calibration="c4_128x4096")["Wanda", "boolq", 0.75]
    assert sample == ("all rows, here 50 of each task",)
    shown = found("other", calibration="c4_128x4096")["Wanda", "boolq", 0.75]
    assert shown == ("no examples in the prompt, here 5",)
    half = {"model": "opt_30b", "method": "sparsellm", "sparsity": "0.70", "allocator": "half"}
    assert found("seven", **half)["SparseLLM", "mean", 0.5536] == ()
    (text,) = found("other", **half)["SparseLLM", "mean", 0.5536][:1]
    assert text == f"mean over {', '.join(SEVEN)}, here over boolq, piqa"
    unstated = found("seven", sparsity="0.70")["DLP", "mean", 0.3704]
    assert unstated[0].startswith("accuracy of which it is not stated") and len(unstated) == 1


def test_what_is_implausible_says_so() -> None:
    (differences,) = (of for key, of in found("ppl", **DENSE, model="llama_65b").items() if key[0] == "OWL")
    assert differences == ("implausible: above the 4.10 of the half as large LLaMA-30B, and BESA prints 3.53",)


def test_variants_of_a_method_have_no_published_value() -> None:
    cell = {"sparsity": "0.90", "allocator": "half"}
    assert found("ppl", method="sparsellm_own", **cell) == found("ppl", method="sparsellm_tuned", **cell) == {}
    assert found("ppl", method="sparsellm_released", **cell) == found("ppl", method="sparsellm", **cell) != {}
    assert found("ppl", model="tiny") == {}
    assert ("DLP", "wikitext2", 21.03) in found("ppl", model="llama_7b", allocator="dlp_mean", sparsity="0.70")


def test_sources_that_repeat_each_other_are_mostly_within_the_tolerance() -> None:
    """The tolerance of a verdict comes from pruned cells that two sources report with the same protocol."""
    closeness: dict[str, list[bool]] = defaultdict(list)
    sound = [value for value in scores() if not value.implausible and not value.doubt and value.method != "dense"]
    for one, other in itertools.combinations(sound, 2):
        same = ("model", "method", "allocator", "layers", "pattern", "sparsity", "task", "metric")
        if one.source == other.source or any(getattr(one, key) != getattr(other, key) for key in same):
            continue
        if one.metric != "perplexity":
            bound = MEAN_POINTS if one.task == "mean" else TASK_POINTS
            kind = "mean" if one.task == "mean" else "task"
            closeness[kind].append(abs(one.value - other.value) < bound + 1e-9)
        elif one.seqlen == other.seqlen is not None and one.calibration == other.calibration:
            apart = max(one.value, other.value) / min(one.value, other.value)
            closeness["perplexity"].append(apart <= 1 + RELATIVE)
    assert {kind: (sum(of), len(of)) for kind, of in closeness.items()} == {
        "perplexity": (14, 15),
        "mean": (20, 20),
        "task": (59, 63),
    }
