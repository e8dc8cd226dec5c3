"""Two runs of one thing at once: the second ends, waits or works beside the first, whose work is never spoilt."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import tiny
import warm
from patches import replacing
from prunebench.errors import PrunebenchError
from prunebench.storage.locks import alone, own, release, take

WORKFLOW = Path(__file__).parents[2] / "workflow"
COMPUTE = ["--batch-size", "2", "--threads", "1"]
PATIENCE = 60.0

SET_UP = """
import os, pathlib, sys, time
start = pathlib.Path.cwd() / "waiting"

def wait():
    start.write_text(str(os.getpid()))
    while not pathlib.Path("go").exists():
        time.sleep(0.02)
"""
HANG = {
    "nowhere": (),
    "block": (
        "prunebench.storage.finished_blocks:Scratch",
        "save",
        "lambda self, block, *rest: (block == 1 and wait(), before(self, block, *rest))[1]",
    ),
    "piece": (
        "prunebench.storage.resume:Parts",
        "get_or",
        "lambda self, *rest: (before(self, *rest), wait())[0]",
    ),
    "search": (
        "prunebench.search.fitness:Fitness",
        "perplexity",
        "lambda self, *rest: (wait(), before(self, *rest))[1]",
    ),
    "export": (
        "prunebench.standalone.export",
        "write_weights",
        "lambda *rest: (wait(), before(*rest))[1]",
    ),
}
"""The places where a command waits for a file `go`: the arguments of patches.replacing for each."""
TYPE = """
import sys
from prunebench.standalone import request
for module in (request, *(sys.modules[name] for name in ("prunebench.standalone.search",) if name in sys.modules)):
    module.CATALOG = pathlib.Path.cwd() / "catalog"
from prunebench.cli import app
app()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working directory with a model, tokens and a catalog."""
    tiny.make_model(tmp_path / "model")
    np.save(tmp_path / "tokens.npy", tiny.tokens(6, 16).numpy())
    (tmp_path / "text.txt").write_text("\n\n".join(tiny.make_text(60)))
    corpus = {"title": "Text", "source": {"kind": "path", "path": str(tmp_path / "text.txt")}}
    corpora = {"c4_type": {**corpus, "documents": "blank_lines"}}
    suites = {"ppl": {"suite": "perplexity", "params": {"corpora": ["c4_type"], "seqlen": 16}}}
    model = {"title": "Small", "family": "llama", "source": {"kind": "path", "path": str(tmp_path / "model")}}
    for kind, entries in {"models": {"smollm2_135m": model}, "corpora": corpora, "suites": suites}.items():
        (tmp_path / "catalog").mkdir(exist_ok=True)
        (tmp_path / f"catalog/{kind}.yaml").write_text(yaml.safe_dump(entries))
    return tmp_path


def start(place: Path, *words: str, hang: str = "nowhere") -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(WORKFLOW),
        "PRUNEBENCH_CACHE": str(place / "cache"),
        "COLUMNS": "500",
    }
    hanging = replacing(*HANG[hang]) if HANG[hang] else ""
    command = [warm.python(), "-c", SET_UP + hanging + TYPE, *words]
    return subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@contextmanager
def holding(place: Path, *words: str, hang: str) -> Iterator[subprocess.Popen[str]]:
    """A run that has come to where it hangs; it is killed at the end, if it is still there."""
    (place / "go").unlink(missing_ok=True)
    (place / "waiting").unlink(missing_ok=True)
    process = start(place, *words, hang=hang)
    end = time.monotonic() + PATIENCE
    while not waiting(place):
        assert process.poll() is None and time.monotonic() < end, process.communicate()[1]
        time.sleep(0.02)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def waiting(place: Path) -> int:
    """The process that has come to where it hangs; 0 if there is none."""
    file = place / "waiting"
    return int(file.read_text() or 0) if file.exists() else 0


def run(place: Path, *words: str) -> tuple[int, str, str]:
    process = start(place, *words)
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def finish(place: Path, process: subprocess.Popen[str]) -> str:
    """Let a run go on to its end; what it printed."""
    (place / "go").touch()
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out


def prune(*more: str, sparsity: str = "0.5") -> list[str]:
    words = ["prune", "model", "--out", "out", "--sparsity", sparsity, "--method", "wanda"]
    return [*words, "--calibration", "tokens.npy", *COMPUTE, *more]


def files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in ("prunebench.json", "README.md")
    }


@pytest.mark.parametrize("sparsity", ["0.5", "0.7"], ids=["the same settings", "other settings"])
def test_a_second_run_ends_at_once_and_says_who_is_there(place: Path, sparsity: str) -> None:
    part = place / ".out.prune.part"
    with holding(place, *prune(), hang="block") as first:
        before = files(part)
        code, out, err = run(place, *prune(sparsity=sparsity))
        assert code == 1 and not out
        (line,) = [text for text in err.splitlines() if "error" in text]
        assert line.startswith(f"error: {place / 'out'} is being written already, by process {waiting(place)} ")
        assert f" on {socket.gethostname()} since {time.strftime('%Y-%m-%d ')}" in line
        assert "prune model --out out --sparsity 0.5 --method wanda" in line
        assert line.endswith("wait for it, stop it, or choose another directory")
        assert "Traceback" not in err
        assert files(part) == before, "the first run's work was touched"
        finish(place, first)
    assert (place / "out/config.json").exists()
    assert sorted(path.name for path in place.glob(".out*")) == [], "locks and work are left"


def test_a_killed_run_gives_way_and_its_work_goes_on(place: Path) -> None:
    with holding(place, *prune(), hang="block") as first:
        os.kill(waiting(place), signal.SIGKILL)
        first.wait()
        assert (place / ".out.lock").exists(), "a kill leaves no time to tidy up"
        code, out, err = run(place, *prune("--json"))
    assert code == 0, err
    assert json.loads(out)["measured"]["resumed_at"] == 1
    undisturbed = [word.replace("out", "undisturbed") if word == "out" else word for word in prune()]
    assert run(place, *undisturbed)[0] == 0
    assert files(place / "out") == files(place / "undisturbed")
    assert not list(place.glob(".out*"))


def test_work_of_another_request_is_not_thrown_away_unasked(place: Path) -> None:
    with holding(place, *prune(), hang="block") as first:
        os.kill(waiting(place), signal.SIGKILL)
        first.wait()
    part = place / ".out.prune.part"
    code, _, err = run(place, *prune(sparsity="0.7"))
    assert code == 1 and f"{part} holds 1 finished block of other settings (--sparsity 0.50, not" in err
    code, _, err = run(place, *prune("--force", sparsity="0.7"))
    assert code == 0 and f"throwing away 1 finished block of other settings in {part}" in " ".join(err.split())
    assert run(place, *prune("--force", sparsity="0.6"))[2].count("throwing away") == 0, "nothing was left"


def test_a_second_run_to_a_directory_that_is_just_done_does_not_overwrite_it(place: Path) -> None:
    with holding(place, *prune(), hang="block") as first:
        finish(place, first)
    code, _, err = run(place, *prune())
    assert code == 1
    assert "is not empty" in err and not list(place.glob(".out*"))


def test_an_export_to_the_directory_of_another_run(place: Path) -> None:
    with holding(place, *prune(), hang="export") as first:
        (cell,) = (place / ".out.prune.part").glob("results/pruned/*/*/*/*/*")
        code, _, err = run(place, "export", str(cell), "out")
        assert code == 1
        assert f"out is being written already, by process {waiting(place)} " in err
        finish(place, first)
    assert (place / "out/config.json").exists()


def test_a_second_search_ends_and_is_answered_later(place: Path) -> None:
    words = ["search", "model", "--sparsity", "0.5", "--evaluations", "2", "--samples", "2", "--windows", "1"]
    words += ["--seqlen", "16", *COMPUTE]
    with holding(place, *words, hang="search") as first:
        code, _, err = run(place, *words)
        assert code == 1
        assert f"error: this search is under way already, by process {waiting(place)} " in err
        assert "when it is done, the same command answers at once" in err
        found = finish(place, first)
    assert run(place, *words)[1] == found


@pytest.mark.parametrize(
    "words",
    [
        ["ppl", "model", "--tokens", "tokens.npy", "--json"],
        ["compare", "model", "model", "--tokens", "tokens.npy", "--json"],
        ["ppl", "model", "--corpus", "c4_type", "--seqlen", "16", "--json"],
    ],
    ids=["ppl", "compare", "ppl of a corpus"],
)
def test_a_second_measurement_is_made_beside_the_first(place: Path, words: list[str]) -> None:
    with holding(place, *words, *COMPUTE, hang="piece") as first:
        code, out, err = run(place, *words, *COMPUTE)
        assert code == 0, err
        assert f"process {waiting(place)} " in err and "working beside it" in err
        assert finish(place, first) == out
    assert not list((place / "cache/evaluations").iterdir())


FETCH = """
import pathlib, sys, time
from types import SimpleNamespace
from prunebench.plan.jobs import named
from prunebench.standalone import assets

def fetch(job, asset, training):
    dest = asset.parent
    if (dest / "half").exists():
        sys.exit("two fetch at once")
    dest.mkdir(parents=True, exist_ok=True)
    (dest / "half").touch()
    with open("fetches", "a") as log:
        log.write("x")
    time.sleep(1)
    (dest / "half").unlink()
    (dest / "asset.json").touch()

assets.run = fetch
assets._complete = lambda path, job: path.exists()
config = SimpleNamespace(models={"m": SimpleNamespace(source=None)})
plan = SimpleNamespace(config=config, asset=lambda asset: named("fetch_model", model="m"))
print(assets.arrive(plan, "models/m", pathlib.Path("root")))
"""


def test_of_two_processes_one_downloads_and_the_other_waits(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(WORKFLOW), "PRUNEBENCH_CACHE": str(tmp_path / "cache")}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", FETCH], cwd=tmp_path, env=environment, **pipes) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        assert out.strip() == str(tmp_path / "cache/resources/models/m/asset.json")
    assert (tmp_path / "fetches").read_text() == "x"
    assert not list((tmp_path / "cache/resources/models").glob(".*.lock"))


def test_a_lock_of_this_process(tmp_path: Path) -> None:
    with alone(tmp_path / "sub/here", "it is done", "wait"):
        with (
            pytest.raises(PrunebenchError, match=f"^it is done already, by process {os.getpid()} .*: wait$"),
            alone(tmp_path / "sub/here", "it is done", "wait"),
        ):
            pass
        assert take(tmp_path / "sub/here") and own(tmp_path / "sub/here") == tmp_path / "sub/here"
        assert (tmp_path / "sub/.here.lock").exists()
    assert not list((tmp_path / "sub").iterdir())
    release(tmp_path / "sub/here")


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PrunebenchError, match=r"cannot write .*/file/\.here\.lock \(.*\): choose another place"):
        take(tmp_path / "file/here")
    (tmp_path / ".linked.lock").symlink_to(tmp_path / "file")
    with pytest.raises(PrunebenchError, match=r"cannot write .*\.linked\.lock"):
        take(tmp_path / "linked")
