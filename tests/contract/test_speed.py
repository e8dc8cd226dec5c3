"""The suite of speed: its bytes are exact and part of the result, its times are beside it, and its forms are right."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

import tiny
from jobs import PruneJob, prune_job
from prunebench import registry
from prunebench.cli import app
from prunebench.errors import PrunebenchError
from prunebench.packed import kernels
from prunebench.packed.fresh import Fresh, in_fresh_process
from prunebench.packed.load import by_dense_kernel
from prunebench.packed.timing import Others, in_turn
from prunebench.results.current import Results
from prunebench.stages.run import run
from prunebench.standalone.export import export
from prunebench.storage.packed import PACKED as FILE
from prunebench.storage.packed import Packing
from prunebench.suites.speed import DENSE, KERNEL, PACKED, ZEROS

PARAMS = {"prompt": 8, "tokens": 3, "batches": [1, 2], "repeats": 1}
CLOCKED = {"load", "peak", *(f"{name}_{batch}" for batch in (1, 2) for name in ("prefill", "first", "decode"))}
BRIEF = ["--prompt", "8", "--tokens", "3", "--repeats", "1", "--threads", "1"]


def speed_job(root: Path, **options: Any) -> PruneJob:
    suites = {"speed": {"suite": "speed", "params": {**PARAMS, **options.pop("params", {})}}}
    job = prune_job(root, more={"suites": suites}, **{"sparsity": 0.7, **options})
    job.run()
    return job


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> PruneJob:
    """A pruned cell whose speed was measured; not to be changed."""
    job = speed_job(tmp_path_factory.mktemp("speed"))
    run(job.evaluating("speed"), job.root)
    return job


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the fresh processes, which take seconds to import PyTorch."""
    monkeypatch.setattr("prunebench.packed.fresh.in_fresh_process", lambda *_: Fresh(1.0, 1.0))


def values(scores: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    return {(score["task"], score["metric"]): score["value"] for score in scores}


def test_the_result_has_bytes_only_and_times_are_beside_it(finished: PruneJob, tmp_path: Path) -> None:
    result = json.loads(finished.evaluation("speed").read_text())
    sizes = values(result["scores"])
    assert set(sizes) == {(form, metric) for form in (DENSE, PACKED) for metric in ("disk", "linears")}
    export(str(finished.weights.parent), tmp_path / "packed", packing=Packing())
    export(str(finished.weights.parent), tmp_path / "dense")
    assert sizes[PACKED, "disk"] * 1e6 == pytest.approx((tmp_path / "packed" / FILE).stat().st_size)
    header = 5000  # names and shapes, which are most of the file of a tiny model
    assert 0 <= (tmp_path / "dense/model.safetensors").stat().st_size - sizes[DENSE, "disk"] * 1e6 < header
    measured = json.loads((finished.root / finished.evaluating("speed").output("measured").path).read_text())
    times = values(measured["scores"])
    forms = {DENSE, ZEROS, PACKED} | ({KERNEL} if kernels.chosen().library else set())
    assert {form for form, _ in times} == forms
    assert {metric for form, metric in times if form == PACKED} == CLOCKED
    assert {metric for form, metric in times if form == ZEROS} == CLOCKED - {"load", "peak"}
    assert min(times.values()) > 0
    assert times[DENSE, "peak"] > 100  # MB: the process has at least PyTorch


@pytest.mark.usefixtures("quick")
def test_a_second_measurement_gives_the_bits_of_the_first(finished: PruneJob) -> None:
    before = finished.evaluation("speed").read_bytes()
    measured = finished.root / finished.evaluating("speed").output("measured").path
    times = measured.read_bytes()
    finished.evaluation("speed").unlink()
    run(finished.evaluating("speed"), finished.root)
    assert finished.evaluation("speed").read_bytes() == before
    assert measured.read_bytes() != times
    assert not [path for path in finished.evaluation("speed").parent.iterdir() if path.name.endswith(".parts")]


def test_results_read_both_and_miss_neither(finished: PruneJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished.root)
    measured = Path(finished.evaluating("speed").output("measured").path)
    scores = Results(finished.plan).evaluation(finished.cell, "speed")["scores"]
    assert {metric for _, metric in values(scores)} == CLOCKED | {"disk", "linears"}
    kept = measured.read_bytes()
    for damage in (kept[: len(kept) // 2], kept.replace(b"decode", b"dekode"), b""):
        measured.write_bytes(damage)
        record = Results(finished.plan).evaluation(finished.cell, "speed")
        assert record["status"] == "missing" and str(measured) in record["reason"], damage[:20]
    measured.unlink()
    assert Results(finished.plan).evaluation(finished.cell, "speed")["status"] == "missing"
    measured.write_bytes(kept)


@pytest.mark.usefixtures("quick")
def test_of_the_dense_model_only_dense_forms_are_measured(tmp_path: Path) -> None:
    job = speed_job(tmp_path, method="dense", sparsity=0.0)
    run(job.evaluating("speed"), job.root)
    assert set(values(json.loads(job.evaluation("speed").read_text())["scores"])) == {
        (DENSE, "disk"),
        (DENSE, "linears"),
    }


@pytest.mark.usefixtures("quick")
def test_values_of_8_bits_are_smaller(finished: PruneJob, tmp_path: Path) -> None:
    job = speed_job(tmp_path, params={"bits": 8, "batches": [1]})
    run(job.evaluating("speed"), job.root)
    share = {
        name: values(json.loads(entry.evaluation("speed").read_text())["scores"])[PACKED, "linears"]
        for name, entry in (("8", job), ("16", finished))
    }
    assert share["8"] < share["16"]


@pytest.mark.usefixtures("quick")
def test_the_portable_path_has_no_dense_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNEBENCH_KERNEL", "portable")
    job = speed_job(tmp_path, params={"batches": [1]})
    run(job.evaluating("speed"), job.root)
    measured = json.loads((job.root / job.evaluating("speed").output("measured").path).read_text())
    assert {form for form, _ in values(measured["scores"])} == {DENSE, ZEROS, PACKED}


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"group": 64}, "group"),
        ({"bits": 4}, "bits"),
        ({"batches": []}, "batches"),
        ({"batches": [0]}, "batches"),
        ({"tokens": 1}, "tokens"),
        ({"bits": 8, "group": 33}, "group"),
        ({"prompt": 63, "tokens": 2}, "reads at most 64"),
    ],
)
def test_mistakes_are_found_before_any_work(params: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(PrunebenchError, match=said):
        prune_job(tmp_path, more={"suites": {"speed": {"suite": "speed", "params": {**PARAMS, **params}}}})


def test_the_job_is_alone_on_the_machine(finished: PruneJob) -> None:
    assert finished.evaluating("speed").alone
    assert not finished.evaluating("ppl").alone


@pytest.mark.parametrize("name", ["llama", "opt", "phi3", "gpt_neox", "falcon"])
def test_forms_are_timed_on_every_family(name: str, tmp_path: Path) -> None:
    family, _ = tiny.ARCHITECTURES[name]
    directory = tiny.make_model(tmp_path / "model", name=name)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
    forms = {"dense": model, "kernel": by_dense_kernel(model, registry.load("models", family).blocks)}
    speeds = in_turn(forms, batch=2, prompt=5, tokens=3, repeats=2)
    assert set(speeds) == set(forms)
    assert all(speed.prefill > 0 and speed.decode > 0 for speed in speeds.values())
    tokens = tiny.tokens(1, 6)
    with torch.no_grad():
        torch.testing.assert_close(forms["kernel"](tokens).logits, model(tokens).logits, rtol=0.1, atol=0.05)


def test_the_work_of_other_programs_is_seen() -> None:
    others = Others()
    subprocess.run([sys.executable, "-c", "for _ in range(20_000_000): pass"], check=True)
    assert others.cpus() > 0.2


def test_a_fresh_process_that_is_killed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prunebench.packed.fresh._CHILD", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(PrunebenchError, match="was killed: free some memory"):
        in_fresh_process(tmp_path, "bfloat16", 8)


def test_a_fresh_process_runs_nothing_of_the_users_script(tmp_path: Path) -> None:
    model = tiny.make_model(tmp_path / "model")
    script = tmp_path / "script.py"
    script.write_text(
        "print('begins')\nfrom pathlib import Path\nfrom prunebench.packed.fresh import in_fresh_process\n"
        f"print(in_fresh_process(Path({str(model)!r}), 'float32', 4).load > 0)\n"
        f"in_fresh_process(Path({str(tmp_path / 'nothing')!r}), 'float32', 4)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.splitlines() == ["begins", "True"], run.stderr
    assert run.stderr.splitlines()[-1].startswith("prunebench.errors.PrunebenchError: ")


@pytest.mark.usefixtures("quick")
def test_the_command_measures_a_packed_and_a_dense_directory(finished: PruneJob, tmp_path: Path) -> None:
    export(str(finished.weights.parent), tmp_path / "packed", packing=Packing())
    export(str(finished.weights.parent), tmp_path / "zeros")
    dense = str(finished.root / "assets/model")
    run = CliRunner().invoke(app, ["speed", str(tmp_path / "packed"), "--against", dense, *BRIEF, "--json"])
    assert run.exit_code == 0, run.output
    scores = values(json.loads(run.stdout))
    assert {form for form, _ in scores} >= {DENSE, ZEROS, PACKED}
    assert scores[PACKED, "disk"] < scores[DENSE, "disk"]
    run = CliRunner().invoke(app, ["speed", str(tmp_path / "zeros"), *BRIEF, "--batch", "2"])
    assert run.exit_code == 0, run.output
    assert "packed" in run.stdout and "1.00x" in run.stdout and "1 thread" in run.stdout
    assert "vs first" in run.stdout and "vs first row: so many times as fast as" in run.stdout
    assert "The first pass warms up and is not counted." in run.stderr
    assert "zeros: pass 1 of 2 done" in run.stderr and "zeros: pass 2 of 2 done" in run.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["packed", "--against", "packed"], "name a dense one"),
        (["packed", "--bits", "8"], "packed already"),
        (["packed", "--group", "32"], "--group 32"),
        (["packed", "--bits", "3"], "--bits 3"),
        (["packed", "--prompt", "64"], "reads at most 64"),
        (["nowhere"], "nowhere"),
        (["packed", "--against", "nowhere"], "nowhere"),
    ],
)
def test_the_command_refuses_mistakes(words: list[str], said: str, finished: PruneJob, tmp_path: Path) -> None:
    export(str(finished.weights.parent), tmp_path / "packed", packing=Packing())
    words = [str(tmp_path / word) if word in ("packed", "nowhere") else word for word in words]
    run = CliRunner().invoke(app, ["speed", *BRIEF, *words])
    assert run.exit_code == 1, run.output
    assert said in run.output.replace("\n", " ") and "Traceback" not in run.output


def test_eval_says_that_speed_is_another_command(finished: PruneJob, tmp_path: Path) -> None:
    export(str(finished.weights.parent), tmp_path / "zeros")
    run = CliRunner().invoke(app, ["eval", str(tmp_path / "zeros"), "--suite", "speed"])
    assert run.exit_code == 1
    assert "prunebench speed" in run.output.replace("\n", " ")
