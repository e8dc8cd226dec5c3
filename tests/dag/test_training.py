"""A model that the workflow trains is pruned and evaluated like any other."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, OPTForCausalLM

import tiny
from dag.tree import STUDY, Tree
from prunebench.engine.activations import advance, embed
from prunebench.engine.model import StreamedModel
from prunebench.figures.draw import save
from prunebench.models.opt import Opt
from prunebench.training.curve import curve_chart
from trained import CORPORA, trained, write_lessons


@pytest.fixture(scope="module")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A study of a trained model, run to its end."""
    tree = Tree.create(tmp_path_factory.mktemp("trained"))
    write_lessons(tree.root / "assets")
    config = trained(yaml.safe_load((tree.root / STUDY).read_text()), CORPORA["lessons"]["source"])
    rows = [{"model": "mini", "method": "dense"}, {"model": "mini", "method": "wanda", "sparsity": 0.5}]
    config["studies"]["tiny"]["grid"] = rows
    (tree.root / STUDY).write_text(yaml.safe_dump(config))
    run = tree.snakemake("strict")
    assert run.returncode == 0, run.stdout
    return tree


def test_it_is_in_the_table_as_trained_here(workflow: Tree) -> None:
    table = (workflow.root / "results/of/tiny/tables/tiny/perplexity.md").read_text()
    assert "Mini (trained here)" in table
    asset = json.loads((workflow.root / "resources/models/mini/asset.json").read_text())
    assert asset["source"]["kind"] == "trained"
    assert workflow.planned() == set()


def test_its_record_says_what_it_learned(workflow: Tree) -> None:
    record = json.loads((workflow.root / "results/trained/mini.json").read_text())
    assert record["documents"]["left_out"] == 20
    curve = record["curve"]
    assert curve[-1]["step"] == 60 and curve[-1]["held_out_loss"] < curve[0]["held_out_loss"] - 0.5
    assert set(record["scores"]) == {"held_out", "text"}
    for score in record["scores"].values():
        assert set(score["bits_per_byte"]) == {"model", "trigram", "unigram"}
        assert all(0 < value < 8 for value in score["bits_per_byte"].values())


def test_its_loss_curve_is_a_figure(workflow: Tree, tmp_path: Path) -> None:
    record = json.loads((workflow.root / "results/trained/mini.json").read_text())
    chart = curve_chart(record)
    training, held_out = chart.series
    assert held_out.y == [point["held_out_loss"] for point in record["curve"]]
    assert training.x[-1] * 1e6 == record["tokens"]["seen"] == 60 * 4 * 16
    assert 1 < chart.panels[0].levels["trigrams"] < chart.panels[0].levels["unigrams"] < 8
    save(chart, tmp_path / "curve.svg")
    assert "Held-out text" in (tmp_path / "curve.svg").read_text()


def test_transformers_reads_it_and_the_engine_streams_it_to_the_same_bits(workflow: Tree) -> None:
    directory = workflow.root / "results/trained/mini"
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
    assert isinstance(model, OPTForCausalLM)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    text = (workflow.root / "assets/text.txt").read_text()[:200]
    tokens = tokenizer(text, return_tensors="pt")["input_ids"][:, :16]
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    streamed = StreamedModel(directory, Opt, dtype=torch.bfloat16, storage=torch.bfloat16, device=torch.device("cpu"))
    activations = embed(streamed, tokens, 1)
    for index in range(streamed.blocks):
        with streamed.block(index) as block:
            advance(activations, block, index)
    with torch.no_grad():
        assert torch.equal(streamed.logits(tokens, activations.hidden[0]), model(tokens, use_cache=False).logits)


def test_changed_text_trains_it_again(workflow: Tree, tmp_path: Path) -> None:
    tree = workflow.copy(tmp_path / "tree")
    lessons = tree.root / "assets/lessons.txt"
    lessons.write_text(lessons.read_text() + "\n" + tiny.make_text(1, seed=2)[0])
    planned = tree.planned()
    assert {"fetch_corpus lessons", "train_model mini", "fetch_model mini"} <= planned
    assert "fetch_corpus text" not in planned
