"""Texts of the papers are cut and scored as in the published codes, which `oracles.protocol` spells out."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import hub_repositories
import tiny
from hub_server import HubServer
from oracles import protocol
from prunebench.config.schema import Config, with_catalogs
from prunebench.engine.subject import Subject
from prunebench.errors import PrunebenchError
from prunebench.plan.plan import Plan
from prunebench.registry import load
from prunebench.stages.calibrate import calibrate, draw_from_documents
from prunebench.stages.fetch_corpus import fetch_corpus
from prunebench.stages.fetch_model import fetch_model
from prunebench.storage.resume import Parts
from prunebench.suites.perplexity import Perplexity

SEQLEN = 29
TEXTS = {
    "wikitext2": ("\n\n", hub_repositories.wikitext_rows("test")),
    "ptb": (" ", hub_repositories.ptb_rows("test")),
    "c4": (" ", hub_repositories.c4_rows("validation")[:20]),
}
"""How the published codes join which rows."""
C4_WINDOWS = 5


@pytest.fixture
def config(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The catalogs, with less of C4, and a model with a BOS whose files are under `tmp_path`."""
    hub.connect(monkeypatch, tmp_path / "cache")
    tiny.make_model(tmp_path / "local", tokenizer=hub_repositories.tokenizer(), **hub_repositories.SIZES)
    model = {"title": "Tiny", "family": "llama", "source": {"kind": "path", "path": str(tmp_path / "local")}}
    raw = {"studies": {"none": {"suites": ["ppl"], "grid": [{}]}}, "models": {"tiny": model}}
    config, _ = with_catalogs(raw)
    less = config.corpora["c4"].model_copy(update={"test_documents": 20, "test_windows": C4_WINDOWS})
    return config.model_copy(update={"corpora": {**config.corpora, "c4": less}})


@pytest.mark.parametrize("corpus", TEXTS)
@pytest.mark.parametrize("bos", [True, False])
def test_perplexity_is_that_of_the_published_codes(config: Config, tmp_path: Path, corpus: str, bos: bool) -> None:
    fetch_corpus(Plan({}, "test", config, {}).asset(f"corpora/{corpus}").spec, asset=tmp_path / corpus / "asset.json")
    subject = Subject(
        tmp_path / "local", load("models", "llama"), None, dtype=torch.float32, storage=torch.bfloat16, batch_size=3
    )
    suite = Perplexity(Perplexity.Params(corpora=[corpus], seqlen=SEQLEN, bos=bos))
    (score,) = suite.run(subject, {f"corpora/{corpus}": tmp_path / corpus}, Parts(tmp_path / "parts", "one"))
    model = tiny.reference(tmp_path / "local", torch.float64)
    joint, rows = TEXTS[corpus]
    # Published codes leave it to the tokenizer, which puts its BOS in front once.
    tokens = hub_repositories.tokenizer()(joint.join(rows), add_special_tokens=bos)["input_ids"]
    assert (tokens[0] == 1) == bos and 1 not in tokens[1:]
    windows = protocol.test_windows(tokens, SEQLEN, C4_WINDOWS if corpus == "c4" else None)

    def logits(window: Sequence[int]) -> NDArray[np.float64]:
        with torch.no_grad():
            values: NDArray[np.float64] = model(torch.tensor([window], device=model.device)).logits[0].cpu().numpy()
        return values

    assert score.n == len(windows) > 4 and len(windows) * SEQLEN < len(tokens)
    assert score.value == pytest.approx(protocol.perplexity(logits, windows), rel=1e-5)


def test_calibration_on_c4_is_that_of_the_published_codes(config: Config, tmp_path: Path) -> None:
    plan = Plan({}, "test", config, {})
    fetch_model(plan.asset("models/tiny").spec, asset=tmp_path / "model" / "asset.json")
    fetch_corpus(plan.asset("corpora/c4").spec, asset=tmp_path / "c4" / "asset.json")
    assets = tmp_path / "model/asset.json", tmp_path / "c4/asset.json"
    tokens, record = tmp_path / "tokens.npy", tmp_path / "record.json"
    calibrate(plan.job("calibrate", model="tiny", calibration=f"c4_6x{SEQLEN}", seed=3).spec, *assets, tokens, record)
    documents = [hub_repositories.tokenizer()(row)["input_ids"] for row in hub_repositories.c4_rows("train")]
    assert np.load(tokens).tolist() == protocol.calibration_windows(documents, 6, SEQLEN, 3)
    found = json.loads(record.read_text())
    assert found["documents"] == 30 and 0 < found["documents_rejected"] <= 20
    tokens.unlink()
    message = "'c4' has no document of more than 5000 tokens for 'tiny' in its calibration split: lower the length"
    with pytest.raises(PrunebenchError, match=message):
        calibrate(plan.job("calibrate", model="tiny", calibration="c4_1x5000", seed=0).spec, *assets, tokens, record)
    assert not tokens.exists()


@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=8),
    samples=st.integers(1, 6),
    seqlen=st.integers(1, 8),
    seed=st.integers(0, 5),
)
def test_windows_from_documents(lengths: list[int], samples: int, seqlen: int, seed: int) -> None:
    documents = [list(range(100 * index, 100 * index + length)) for index, length in enumerate(lengths)]
    texts = [json.dumps(document) for document in documents]
    state = random.getstate()
    windows, short = draw_from_documents(json.loads, texts, samples, seqlen, seed)
    assert random.getstate() == state, "others may draw from the common generator"
    if max(lengths) <= seqlen:
        assert windows.shape == (0, seqlen) and short == len(documents)
    else:
        assert windows.dtype == np.int64
        assert windows.tolist() == protocol.calibration_windows(documents, samples, seqlen, seed)
        assert short <= sum(length <= seqlen for length in lengths)
