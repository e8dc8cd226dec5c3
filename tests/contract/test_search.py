"""A search on a tiny model: what it evaluates is what Wanda would prune, its books are right, and it can be killed."""

import itertools
import json
import math
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import tiny
from prunebench import registry
from prunebench.assets.corpora import load_split
from prunebench.assets.tokens import first_windows, load_tokenizer
from prunebench.config.entries import CorpusEntry, ModelEntry
from prunebench.dsa.operations import Invalid
from prunebench.engine.anatomy import Anatomy
from prunebench.engine.profile import profile_model
from prunebench.errors import CellFailure, PrunebenchError
from prunebench.formulas import masks, scores
from prunebench.identity.canonical import canonical
from prunebench.search import ledger
from prunebench.search.fitness import Fitness, MaskedWeights
from prunebench.search.ledger import Ledger
from prunebench.search.slopes import Slope
from prunebench.search.slopes import Space as Slopes
from prunebench.search.strategies import Scored, Spent
from prunebench.stages import search_allocation as stage
from prunebench.stages.fetch_corpus import fetch_corpus
from prunebench.stages.fetch_model import fetch_model
from prunebench.stages.gather_search import gather_search
from prunebench.storage.resume import Parts
from prunebench.storage.sealed import read_record

BLOCKS = 5


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with models/asset.json, corpora/asset.json and profile.safetensors; not to be changed."""
    root = tmp_path_factory.mktemp("search")
    directory = tiny.make_model(root / "model", blocks=BLOCKS)
    save_file(profile_model(tiny.open_model(directory), tiny.tokens(6, 16), batch_size=4), root / "profile.safetensors")
    (root / "text.txt").write_text("\n".join(tiny.make_text(400)))
    source = {"kind": "path", "path": str(directory)}
    model = ModelEntry.model_validate({"title": "Tiny", "family": "llama", "source": source})
    text = {"kind": "path", "path": str(root / "text.txt")}
    corpus = CorpusEntry.model_validate({"title": "Text", "source": text, "documents": "lines"})
    for kind, fetch, entry in (("models", fetch_model, model), ("corpora", fetch_corpus, corpus)):
        fetch(json.dumps({"entry": entry.model_dump(mode="json")}), asset=root / kind / "asset.json")
    return root


@pytest.fixture(scope="module")
def anatomy(assets: Path) -> Anatomy:
    model = tiny.open_model(assets / "model")
    return Anatomy(assets / "model", model.family, torch.bfloat16, assets / "profile.safetensors")


FETCHED = (("model", "models"), ("corpus", "corpora"))


def spec(**changes: Any) -> str:
    wanted = {
        "family": "llama",
        "storage": "bfloat16",
        "sparsity": "0.60",
        "space": "functions",
        "strategy": "evolution",
        "strategy_params": {"population": 4, "sample_ratio": 0.9, "parents": 3},
        "evaluations": 12,
        "windows": 3,
        **dict.fromkeys(("model", "profile", "corpus"), "of what it is made"),
        "seqlen": 16,
        "seed": 0,
        "compute": {"dtype": "float32", "batch_size": 2, "threads": 1},
    }
    return json.dumps(wanted | changes)


def search(assets: Path, out: Path, **changes: Any) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    stage.search_allocation(
        spec(**{name: read_record(assets / kind / "asset.json")["spec_hash"] for name, kind in FETCHED}, **changes),
        model=assets / "models/asset.json",
        corpus=assets / "corpora/asset.json",
        profile=assets / "profile.safetensors",
        result=out / "seed0.json",
        history=out / "seed0.history.csv",
        measured=out / "seed0.measured.json",
    )
    result: dict[str, Any] = json.loads((out / "seed0.json").read_text())
    return result


def oracle(assets: Path, anatomy: Anatomy, allocation: dict[str, float]) -> float:
    """Perplexity of transformers' own model with one-shot Wanda masks, float32."""
    model = AutoModelForCausalLM.from_pretrained(assets / "model", dtype=torch.float32)
    for linear, sparsity in allocation.items():
        weight = model.get_submodule(linear).weight
        score = weight.double().abs() * anatomy.squared_norm(linear).sqrt()
        gone = score.argsort(dim=1, stable=True)[:, : round(weight.shape[1] * sparsity)]
        weight.data.scatter_(1, gone, 0.0)
    corpus = json.loads((assets / "corpora/asset.json").read_text())["directory"]
    text = load_split(assets / "corpora" / corpus if not Path(corpus).is_absolute() else Path(corpus), "tuning")
    windows = torch.from_numpy(first_windows(load_tokenizer(assets / "model"), text, 16, 3, "text"))
    losses = []
    with torch.no_grad():
        for window in windows:
            logits = model(window[None]).logits[0, :-1]
            losses.append(torch.nn.functional.cross_entropy(logits, window[1:]).item())
    return math.exp(np.mean(losses))


@pytest.mark.parametrize("seed", range(3))
def test_an_evaluation_is_the_perplexity_of_one_shot_wanda(assets: Path, anatomy: Anatomy, seed: int) -> None:
    rng = random.Random(seed)
    weights = MaskedWeights(anatomy)
    model = tiny.open_model(assets / "model", overrides=weights)
    windows = tiny.tokens(4, 16, seed=9)
    fitness = Fitness(model, weights, anatomy, windows, 2)
    allocation = {linear: round(rng.random(), 2) for linear in anatomy.sizes}
    found = fitness.perplexity(fitness.counts(allocation))
    plain = AutoModelForCausalLM.from_pretrained(assets / "model", dtype=torch.float32)
    for linear, sparsity in allocation.items():
        weight = plain.get_submodule(linear).weight
        score = scores.wanda(weight.data, anatomy.squared_norm(linear))
        count = masks.pruned_count(weight.shape[1], sparsity)
        weight.data.scatter_(1, score.argsort(dim=1, stable=True)[:, :count], 0.0)
    with torch.no_grad():
        logits = plain(windows).logits[:, :-1].flatten(0, 1)
    assert found == pytest.approx(
        math.exp(torch.nn.functional.cross_entropy(logits, windows[:, 1:].flatten()).item()), rel=1e-4
    )
    # The next evaluation sees nothing of this one.
    dense = fitness.perplexity(fitness.counts({}))
    assert dense != pytest.approx(found, rel=1e-3)
    assert fitness.perplexity(fitness.counts(allocation)) == found
    assert fitness.perplexity(fitness.counts({})) == dense


@pytest.mark.parametrize("strategy", ["evolution", "random"])
def test_the_same_seed_gives_the_same_history_and_its_best_is_the_lowest(
    assets: Path, anatomy: Anatomy, tmp_path: Path, strategy: str
) -> None:
    params = {} if strategy == "random" else json.loads(spec())["strategy_params"]
    first, again, other = (
        search(assets, tmp_path / name, strategy=strategy, strategy_params=params, seed=seed)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == again and first["history"] != other["history"]
    history = first["history"]
    ran = [entry for entry in history if entry["status"] == "ok"]
    assert first["evaluations"] == len(ran) == 12 == history[-1]["evaluation"]
    assert [entry["evaluation"] for entry in ran] == list(range(1, 13))
    assert first["best"]["value"] == min(entry["value"] for entry in ran)
    assert len({entry["candidate"] for entry in history}) == len(history)
    assert {entry["status"] for entry in history} <= {"ok", "known", "invalid"}
    assert all(entry["reason"] for entry in history if entry["status"] == "invalid")
    table = pd.read_csv(tmp_path / "a/seed0.history.csv")
    assert list(table["candidate"]) == [entry["candidate"] for entry in history]
    assert not list((tmp_path / "a").glob(".*"))
    # Judged anew, from the outside.
    allocation = registry.load("search", "functions")(anatomy, 0.6).allocate(_function(first["best"]["candidate"]))
    assert first["best"]["value"] == pytest.approx(oracle(assets, anatomy, allocation), rel=1e-4)
    uniform = oracle(assets, anatomy, dict.fromkeys(anatomy.sizes, 0.6))
    assert first["uniform"] == pytest.approx(uniform, rel=1e-4)


def _function(text: str) -> Any:
    from prunebench.dsa.language import parse

    return parse(text)


def mortal(after: int) -> Callable[..., float]:
    """`Fitness.perplexity` that is killed when it is called once more than `after` times."""
    plain: Callable[..., float] = Fitness.perplexity
    calls = itertools.count(1)

    def perplexity(self: Fitness, counts: Any) -> float:
        if next(calls) > after:
            raise KeyboardInterrupt
        return plain(self, counts)

    return perplexity


def test_killed_and_resumed_it_goes_on_with_the_same_random_numbers(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search(assets, tmp_path / "whole")
    runs, resumed = 0, None
    while resumed is None:
        runs += 1
        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr(Fitness, "perplexity", mortal(after=4))
            resumed = search(assets, tmp_path / "killed")
        assert (tmp_path / "killed/seed0.json").exists() == (resumed is not None)
    # 12 evaluations and two levels, four in a life.
    assert runs == 4
    assert resumed == whole
    assert json.loads((tmp_path / "killed/seed0.measured.json").read_text())["resumed"]


def test_what_another_spec_left_behind_is_not_used(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = search(assets, tmp_path / "alone", sparsity="0.40")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Fitness, "perplexity", mortal(after=5))
        search(assets, tmp_path / "shared", sparsity="0.80")
    assert search(assets, tmp_path / "shared", sparsity="0.40") == expected


def test_a_grid_of_slopes_ends_when_all_were_tried(assets: Path, anatomy: Anatomy, tmp_path: Path) -> None:
    result = search(
        assets,
        tmp_path / "grid",
        space="slopes",
        strategy="grid",
        strategy_params={},
        sparsity="0.98",
        evaluations=100,
    )
    # min(2 s, 2 (1 - s)) / (L - 1) = 0.04 / 4 = 0.010: the slopes 0 to 0.010.
    assert [entry["candidate"] for entry in result["history"]] == [f"{0.002 * i:.3f}" for i in range(6)]
    assert result["stopped"] == "every candidate was tried"
    by_slope = {entry["candidate"]: entry["value"] for entry in result["history"]}
    # A flat slope is the uniform allocation, which was evaluated before.
    assert by_slope["0.000"] == result["uniform"] and result["history"][0]["status"] == "known"
    statuses = [entry["status"] for entry in result["history"]]
    assert result["evaluations"] == statuses.count("ok") == 6 - statuses.count("known") > 0
    allocation = Slopes(anatomy, 0.98).allocate(Slope(3))
    assert by_slope["0.006"] == pytest.approx(oracle(assets, anatomy, allocation), rel=1e-4)


def test_slopes_vary_within_their_bounds(anatomy: Anatomy) -> None:
    space, rng = Slopes(anatomy, 0.98), random.Random(0)
    drawn = [space.draw(rng) for _ in range(50)]
    grown = [space.mutate(slope, rng) for slope in drawn]
    born = [space.cross(one, other, rng) for one, other in zip(drawn, grown, strict=True)]
    assert {slope.steps for slope in drawn} == set(range(6))
    assert all(0 <= slope.steps <= 5 for slope in (*grown, *born))
    assert max(abs(a.steps - b.steps) for a, b in zip(drawn, grown, strict=True)) == 1


class Toy:
    """A space of whole numbers; odd ones are rejected, multiples of 8 invalid, and n and n + 100 are one allocation."""

    def reject(self, number: int) -> str | None:
        return "odd" if number % 2 else None

    def allocate(self, number: int) -> int:
        if number % 8 == 0:
            raise Invalid("a multiple of 8")
        return number


class ToyFitness:
    """10 breaks the model."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def counts(self, number: int) -> tuple[int, ...]:
        return (number % 100,)

    def perplexity(self, counts: tuple[int, ...]) -> float:
        self.asked.append(counts[0])
        if counts[0] == 10:
            raise CellFailure("broken")
        return float(counts[0])


def books(tmp_path: Path, evaluations: int = 3) -> tuple[Ledger, ToyFitness, list[str]]:
    fitness, notes = ToyFitness(), []  # type: ToyFitness, list[str]
    toys: Any = (Toy(), fitness)
    return Ledger(*toys, Parts(tmp_path / "parts"), evaluations=evaluations, report=notes.append), fitness, notes


def test_a_search_that_finds_nothing_keeps_its_books(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain: Callable[..., float] = Fitness.perplexity

    def broken(self: Fitness, counts: Any) -> float:
        if len(set(counts)) > 2:
            raise CellFailure("the loss is NaN")
        return plain(self, counts)

    # Uniform and dense prune as many of each row of one width; candidates do not.
    monkeypatch.setattr(Fitness, "perplexity", broken)
    result = search(assets, tmp_path / "broken", evaluations=4)
    assert result["status"] == "failed" and "none of" in result["reason"] and "4 evaluations" in result["reason"]
    assert {entry["status"] for entry in result["history"]} <= {"failed", "invalid", "known"}
    assert "the loss is NaN" in (tmp_path / "broken/seed0.history.csv").read_text()


def test_a_model_whose_inputs_overflow_is_a_failed_search(assets: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(assets, tmp_path / "assets")
    norms = load_file(assets / "profile.safetensors")
    save_file({site: torch.full_like(norm, math.inf) for site, norm in norms.items()}, broken / "profile.safetensors")
    result = search(broken, tmp_path / "out")
    assert result["status"] == "failed" and result["history"] == []
    assert "before any candidate: the inputs of" in result["reason"] and "use bfloat16" in result["reason"]


def test_the_books_of_a_search(tmp_path: Path) -> None:
    judge, fitness, notes = books(tmp_path)
    assert [judge(number) for number in (1, 8, 14, 114, 14, 10)] == [
        None,
        None,
        Scored(14.0, 14, (14,)),
        Scored(14.0, 114, (14,)),
        Scored(14.0, 14, (14,)),
        Scored(math.inf, 10, (10,)),
    ]
    assert judge(2) == Scored(2.0, 2, (2,)) == judge.best
    with pytest.raises(Spent, match="3 evaluations"):
        judge(4)
    assert fitness.asked == [14, 10, 2] and judge.rejected == 1
    assert [(entry["evaluation"], entry["candidate"], entry["status"], entry["value"]) for entry in judge.history] == [
        (0, "8", "invalid", None),
        (1, "14", "ok", 14.0),
        (1, "114", "known", 14.0),
        (2, "10", "failed", None),
        (3, "2", "ok", 2.0),
    ]
    assert [entry["reason"] for entry in judge.history] == ["a multiple of 8", None, None, "broken", None]
    assert notes == ["14.00 14, best 14.00 14", "inf 10, best 14.00 14", "2.00 2, best 2.00 2"]


def test_a_search_that_finds_nothing_new_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "PATIENCE", 20)
    judge, _, _ = books(tmp_path, evaluations=10)
    with pytest.raises(Spent, match="nothing new in 20 proposals"):
        for number in (2, 1, 8) * 100:
            judge(number)
    assert judge.evaluations == 1


def test_the_best_of_all_seeds_is_picked_and_ties_go_to_the_first(tmp_path: Path) -> None:
    def result(seed: int, value: float | None) -> Path:
        path = tmp_path / f"{seed}.json"
        wanted = {"seed": seed, "sparsity": "0.70", "space": "slopes", "strategy": "grid", "evaluations": 5}
        found: dict[str, Any] = {
            "spec": wanted,
            "spec_hash": f"seed {seed}",
            "uniform": 9.0,
            "model": {"title": "Tiny"},
        }
        best = {"best": {"candidate": f"c{seed}", "value": value}, "evaluations": 5}
        found |= {"status": "ok", **best} if value else {"status": "failed", "reason": "no luck"}
        path.write_text(json.dumps(found))
        return path

    def gather(*results: Path) -> None:
        seeds = {path.stem: f"seed {path.stem}" for path in results}
        gather_search(canonical({"seeds": seeds}), results, tmp_path / "best.json")

    gather(result(0, None), result(1, 3.0), result(2, 2.0), result(3, 2.0))
    best = json.loads((tmp_path / "best.json").read_text())
    assert best["status"] == "ok" and best["best"] == {"candidate": "c2", "value": 2.0, "seed": 2}
    assert best["seeds"]["0"] == {"status": "failed", "reason": "no luck"}
    assert best["searched"] == {"sparsity": "0.70", "space": "slopes", "strategy": "grid", "evaluations": 5}
    gather(result(0, None))
    assert json.loads((tmp_path / "best.json").read_text())["reason"] == "no luck"
    # In the text of the spec 10 comes before 2.
    gather(result(2, 3.0), result(10, 1.0))
    assert json.loads((tmp_path / "best.json").read_text())["best"]["seed"] == 10
    with pytest.raises(PrunebenchError, match=r"3\.json was made from other"):
        gather_search(canonical({"seeds": {"2": "seed 2"}}), [result(3, 1.0)], tmp_path / "best.json")
