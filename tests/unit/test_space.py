"""The room on disks that jobs need: sizes by hand, the disk that each file goes to, and the message."""

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from prunebench.config.entries import Shape
from prunebench.errors import PrunebenchError
from prunebench.estimate import space
from prunebench.estimate.space import Demand
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan, load_plan
from studies import STUDY, grid

Usage = namedtuple("Usage", "total used free")
SHAPE = Shape(blocks=2, hidden=4, ffn=8, attention=6, vocabulary=10, key_value=2)
PRUNABLE = 2 * (24 + 2 * 8 + 24 + 3 * 32)
MODEL: dict[str, Any] = {
    "title": "Small",
    "family": "llama",
    "dtype": "bfloat16",
    "source": {"kind": "hub", "repo": "org/small", "revision": "0" * 40},
    "shape": SHAPE.model_dump(exclude_none=True),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def plan(*methods: str, **settings: Any) -> Plan:
    rows = [{"model": "small", "method": method, "sparsity": 0.75} for method in methods]
    return load_plan({**grid(*rows), "models": {**STUDY["models"], "small": MODEL}, **settings})


def sizes(of: Plan, results: Path = Path("nowhere")) -> dict[str, float]:
    cells: list[Job] = [of.job("prune", **cell.wildcards) for cell in of.cells]
    models: list[Job] = [of.job("fetch_model", model="small")]
    return {demand.words: demand.bytes for demand in space.demands(of, cells + models, results)}


MASK = PRUNABLE / 8
VALUES = PRUNABLE * 2 / 4
"""The kept quarter of the weights in bfloat16."""


@pytest.mark.parametrize(
    ("setting", "stay", "run"),
    [
        ("packed", 2 * MASK + VALUES, MASK + VALUES),
        ("mask", 2 * MASK, MASK + 2 * VALUES),
        ("none", 0, 2 * (MASK + VALUES)),
    ],
)
def test_weights_that_stay_and_files_of_the_largest_job(setting: str, stay: float, run: float) -> None:
    demands = sizes(plan("magnitude", "sparsegpt", keep_weights=setting))
    assert demands["pruned weights"] == stay
    assert demands["temporary copies of weights"] == run


@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("random", 0),
        ("pruner_zero", 0),
        ("besa", 0),
        ("sparsellm", 0),
        ("wanda", 0),
        ("alps", VALUES),
        ("admm", VALUES),
    ],
)
def test_kept_weights_count_only_where_they_surely_change(method: str, values: float) -> None:
    assert sizes(plan(method, keep_weights="packed"))["pruned weights"] == MASK + values


def test_blocks_of_a_killed_job_are_there_already(tmp_path: Path) -> None:
    made = plan("sparsegpt", keep_weights="none")
    (job,) = (made.job("prune", **cell.wildcards) for cell in made.cells)
    blocks = tmp_path / job.outputs[0].parent / ".blocks"
    blocks.mkdir(parents=True)
    (blocks / "block_000.safetensors").write_bytes(bytes(50))
    assert sizes(made, tmp_path)["temporary copies of weights"] == 2 * (MASK + VALUES) - 50


def test_downloads_that_have_arrived_are_not_counted(cache: Path) -> None:
    whole = (PRUNABLE + 40) * 2  # the embedding once: the head may be the same matrix
    assert sizes(plan("magnitude"))["downloads"] == whole
    blobs = cache / "models--org--small" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "abc").write_bytes(bytes(100))
    assert sizes(plan("magnitude"))["downloads"] == whole - 100


def test_pickled_weights_lie_there_twice() -> None:
    assert sizes(plan("magnitude"))["copies of pickled weights"] == 0
    pickled = {**MODEL, "source": {**MODEL["source"], "weights": "pytorch"}}
    made = load_plan({**grid({"model": "small", "method": "dense"}), "models": {**STUDY["models"], "small": pickled}})
    demands = sizes(made)
    assert demands["copies of pickled weights"] == demands["downloads"] == (PRUNABLE + 40) * 2


def test_the_cache_is_where_huggingface_hub_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value, expected in (
        ("HF_HUB_CACHE", "a", Path("a")),
        ("HF_HOME", "b", Path("b/hub")),
        ("XDG_CACHE_HOME", "c", Path("c/huggingface/hub")),
    ):
        for other in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(other, raising=False)
        monkeypatch.setenv(name, value)
        assert space._hub_cache() == expected


def test_the_message_says_how_much_is_missing_on_which_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 5 * 10**9))
    first, second = Demand("downloads", tmp_path / "a", 4e9), Demand("pruned weights", tmp_path / "b/c", 3e9)
    space.check([first])
    space.check([second])
    with pytest.raises(PrunebenchError) as told:
        space.check([first, second, Demand("gradients", tmp_path, 0)])
    assert str(told.value) == (
        f"the disk of {tmp_path} has too little room: 5.0 GB are free, and this work writes at least 7.0 GB "
        "(downloads at least 4.0 GB, pruned weights at least 3.0 GB). Free another 2.0 GB there and run again"
    )
