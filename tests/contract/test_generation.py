"""Text that a model writes for its own calibration: samples of the model, and the same ones for the same seed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from prunebench.assets.manifest import Manifest, describe_files, write_manifest
from prunebench.config.entries import Shape
from prunebench.config.sources import Sampling
from prunebench.config.values import Compute
from prunebench.engine.generation import continued, drawn
from prunebench.errors import PrunebenchError
from prunebench.plan.plan import Plan, load_plan
from prunebench.stages.calibrate import calibrate
from studies import SHAPE, changed

FLOAT32 = Compute(dtype="float32", batch_size=2, threads=1)
STARTS = torch.tensor([[1], [1], [5]])


def written(
    directory: Path, name: str = "llama", *, seed: int = 0, starts: torch.Tensor = STARTS, **options: Any
) -> Any:
    compute = FLOAT32.model_copy(update={"batch_size": options.pop("batch_size", 2)})
    family = tiny.EVERY_ARCHITECTURE[name][0]
    return continued(directory, family, "bfloat16", compute, Sampling(**options), starts, 14, seed)


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_each_token_is_what_a_pass_over_all_tokens_before_it_draws(name: str, tmp_path: Path) -> None:
    """Keys and values of former steps are kept, and windows of other architectures have other positions and masks."""
    directory = tiny.make_model(tmp_path, name)
    text = written(directory, name, temperature=0.7)
    uniform = torch.rand(3, 13, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        logits = tiny.reference(directory)(text.to(tiny.DEVICE)).logits.cpu()
    for step in range(13):
        assert torch.equal(text[:, step + 1], drawn(logits[:, step], uniform[:, step], Sampling(temperature=0.7)))


def certain(directory: Path) -> Path:
    """A model that writes token t + 1 after token t: blocks add nothing, and the head looks for the next embedding."""
    weights = load_file(tiny.make_model(directory, hidden_size=192, tie_word_embeddings=False) / "model.safetensors")
    for name, weight in weights.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.zero_()
    unit = torch.eye(tiny.VOCABULARY, 192, dtype=torch.bfloat16)
    weights["model.embed_tokens.weight"], weights["lm_head.weight"] = unit, 10 * unit.roll(1, dims=0)
    weights["model.norm.weight"].fill_(1.0)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def test_a_model_whose_next_token_is_certain_writes_that_sequence(tmp_path: Path) -> None:
    text = written(certain(tmp_path), starts=torch.tensor([[1], [40], [90]]))
    assert text.tolist() == [list(range(first, first + 14)) for first in (1, 40, 90)]


def test_the_seed_decides_and_neither_the_batch_size_nor_other_windows(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path)
    text = written(directory)
    assert torch.equal(text, written(directory)) and torch.equal(text, written(directory, batch_size=3))
    assert torch.equal(text[:2], written(directory, starts=STARTS[:2]))
    assert not torch.equal(text, written(directory, seed=1)) and not torch.equal(text[0], text[1])


@pytest.mark.parametrize(
    "sampling", [{"temperature": 0.1}, {"temperature": 1.5}, {"top_k": 2}, {"top_p": 0.3}], ids=lambda item: str(item)
)
def test_every_setting_of_sampling_enters(sampling: dict[str, Any], tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path)
    assert not torch.equal(written(directory), written(directory, **sampling))


LOGITS = torch.tensor([0.0, 2.0, 1.0, -1.0, 2.0])


def shares(**sampling: Any) -> torch.Tensor:
    """The fraction of 4000 evenly spaced heights at which each token of LOGITS is drawn."""
    heights = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    return drawn(LOGITS.expand(4000, -1), heights, Sampling(**sampling)).bincount(minlength=5) / 4000


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_tokens_have_the_probabilities_of_the_model(temperature: float) -> None:
    assert torch.allclose(shares(temperature=temperature), (LOGITS / temperature).softmax(0), atol=1e-3)


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        ({"top_k": 1}, [1, 4]),  # as likely as the first one
        ({"top_k": 3}, [1, 2, 4]),
        ({"top_k": 9}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.1}, [1]),
        ({"top_p": 0.7}, [1, 4]),
        ({"top_p": 0.9}, [1, 2, 4]),
        ({"top_k": 3, "top_p": 0.8}, [1, 4]),  # 0.84 of the three
    ],
)
def test_only_likely_tokens_are_kept(sampling: dict[str, Any], kept: list[int]) -> None:
    expected = torch.zeros(5)
    expected[kept] = LOGITS[kept].softmax(0)
    assert torch.allclose(shares(**sampling), expected, atol=1e-3)


@pytest.mark.parametrize("height", [0.0, 1 - 2**-53])
def test_no_height_draws_a_token_that_cannot_be(height: float) -> None:
    logits = torch.tensor([[-torch.inf, 0.0, 1.0, -torch.inf]])
    assert int(drawn(logits, torch.tensor([height], dtype=torch.float64), Sampling())) in (1, 2)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_model_that_gives_no_numbers_cannot_write(value: float) -> None:
    with pytest.raises(PrunebenchError, match="not finite"):
        drawn(torch.tensor([[0.0, value]]), torch.zeros(1, dtype=torch.float64), Sampling())


SOURCES = {
    "bos": {"kind": "generated"},
    "prompted": {"kind": "generated", "prompts": "text", "prompt_tokens": 3},
    "shared": {"kind": "generated", "prompts": "text", "prompt_tokens": 0, "share": 0.4},
    "both": {"kind": "generated", "prompts": "text", "prompt_tokens": 3, "share": 0.4},
}


def planned(kind: str, bos: Any = False) -> Plan:
    """The plan of a study whose calibration is text that the model writes."""
    entry = {"title": "Own", "source": SOURCES[kind], "calibration_bos": bos}
    return load_plan(changed("corpora.own", entry, changed("studies.tiny.defaults.calibration", "own_4x16")))


def stage(tmp_path: Path, kind: str, bos: Any = False) -> tuple[np.ndarray, dict[str, Any], list[Path]]:
    """Tokens and record of the stage `calibrate` on a tiny model, and the inputs of the stage."""
    plan = planned(kind, bos)
    draws = {"text_4x16": tmp_path / "text.npy", "own_4x16": tmp_path / "own.npy"}
    model, corpus = assets(tmp_path, plan)
    for calibration, tokens in draws.items():
        job = plan.job("calibrate", model="tiny", calibration=calibration, seed=0)
        text = corpus if job.needs["corpus"] else None
        calibrate(job.spec, model, text, tokens, tokens.with_suffix(".json"))
    return (
        np.load(draws["own_4x16"]),
        json.loads(draws["own_4x16"].with_suffix(".json").read_text()),
        list(draws.values()),
    )


def assets(folder: Path, plan: Plan, *, bos: bool = True) -> tuple[Path, Path]:
    """The asset.json of a tiny model (without a BOS token if `bos` is false) and of a text, as `plan` fetches them."""
    model, corpus = folder / "model", folder / "corpus"
    tokenizer = tiny.make_tokenizer()
    tokenizer.bos_token = "<s>" if bos else None
    tiny.make_model(model, tokenizer=tokenizer)
    corpus.mkdir(exist_ok=True)
    lines = [json.dumps({"text": document}) for document in tiny.make_text(30)]
    (corpus / "calibration.jsonl").write_text("\n".join(lines))
    source = plan.config.corpora["text"].source
    for directory, asset in ((model, "models/tiny"), (corpus, "corpora/text")):
        files = describe_files(sorted(directory.iterdir()))
        shape = Shape(**SHAPE) if directory == model else None
        job = plan.asset(asset)
        write_manifest(
            Manifest(spec_hash=job.spec_hash, title=asset, directory=Path(), files=files, source=source, shape=shape),
            directory,
        )
    return model / "asset.json", corpus / "asset.json"


@pytest.mark.parametrize(
    ("kind", "bos"), [("bos", False), ("bos", "window"), ("prompted", False), ("prompted", "window")]
)
def test_windows_have_their_size_and_begin_as_the_entry_says(kind: str, bos: Any, tmp_path: Path) -> None:
    tokens, record, (text, _) = stage(tmp_path, kind, bos)
    assert tokens.shape == (4, 16) and tokens.dtype == np.int64
    assert (tokens[:, 0] == 1).all() == (bos == "window")
    assert record["generation"]["sampling"] == {"temperature": 1.0} and record["bos"] == bos
    if kind == "prompted" and not bos:
        drawn_from_text = np.load(text)
        assert (tokens[:, :3] == drawn_from_text[:, :3]).all() and (tokens != drawn_from_text)[:, 3:].any()


@pytest.mark.parametrize("bos", [False, "window"])
def test_with_a_share_the_first_windows_are_of_the_corpus_and_the_model_writes_the_others(
    bos: Any, tmp_path: Path
) -> None:
    drawn_from_text = {}
    tokens = {}
    for kind in ("bos", "prompted", "shared", "both"):
        tokens[kind], record, (text, _) = stage(tmp_path / kind, kind, bos)
        drawn_from_text[kind] = np.load(text)
        assert record["generation"].get("windows") == (2 if kind in ("shared", "both") else None)
    front = int(bos == "window")  # a window with a token in front holds one token of the text less
    for kind in ("shared", "both"):
        if not front:
            assert (tokens[kind][:2] == drawn_from_text[kind][:2]).all()
        assert (tokens[kind][:, :front] == 1).all()
    starts = slice(front, front + 3)
    words = drawn_from_text["both"][2:, :3] if not front else tokens["prompted"][2:, starts]
    assert (tokens["both"][2:, starts] == words).all() and (tokens["both"][2:] != tokens["shared"][2:]).any()
    assert (tokens["shared"][2:] == tokens["bos"][:2]).all()


def test_equal_specs_give_equal_bytes(tmp_path: Path) -> None:
    _, _, (_, first) = stage(tmp_path / "one", "bos")
    _, _, (_, second) = stage(tmp_path / "other", "bos")
    assert first.read_bytes() == second.read_bytes()


def test_without_a_bos_token_prompts_are_asked_for(tmp_path: Path) -> None:
    plan = planned("bos")
    model, _ = assets(tmp_path, plan, bos=False)
    job = plan.job("calibrate", model="tiny", calibration="own_4x16", seed=0)
    with pytest.raises(PrunebenchError, match="name a corpus as 'prompts'"):
        calibrate(job.spec, model, None, tmp_path / "own.npy", tmp_path / "own.json")
