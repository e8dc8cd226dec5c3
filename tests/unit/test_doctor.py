"""`prunebench doctor` finds what is wrong with an environment, and says what to do."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from prunebench.cli import app
from prunebench.plan.slurm import Partition
from prunebench.runtime import cgroups
from prunebench.upkeep import doctor, locks

REPOSITORY = Path(__file__).parents[2]


def test_it_looks_at_everything_and_the_exit_code_follows_the_worst() -> None:
    run = CliRunner().invoke(app, ["doctor"])
    lines = [line.split() for line in run.output.splitlines() if not line.startswith(" ")]
    assert {line[0] for line in lines} <= {"ok", "warning", "problem"}
    assert {"python", "packages", "GPU", "CPUs", "memory", "results", "lock", "code"} <= {line[1] for line in lines}
    assert run.exit_code == any(line[0] == "problem" for line in lines)


def test_python() -> None:
    assert doctor.python(f"=={platform.python_version()}").level == "ok"
    found = doctor.python(">=4")
    assert (found.level, found.text) == ("problem", f"{platform.python_version()}, but >=4 is needed")


def test_packages() -> None:
    requirements = ["pytest>=1", "pyyaml>=999", "no-such-package>=2", "rich>=1"]
    found = {finding.subject: finding for finding in doctor.packages(requirements, ["pytest==1.0", "rich>=1"])}
    levels = {subject: finding.level for subject, finding in found.items()}
    assert levels == {"pytest": "warning", "pyyaml": "problem", "no-such-package": "problem", "packages": "problem"}
    assert found["no-such-package"].text == "not installed, but >=2 is needed"
    assert found["packages"].text == "1 of 4 as tested"


def test_the_way_to_install_packages_is_said_once() -> None:
    pins = [f"{name}==0.0" for name in ("torch", "lm-eval", "platformdirs")]
    *warnings, last = doctor.packages(["torch>=1", "lm-eval>=0", "platformdirs>=1"], pins)
    assert {finding.level for finding in (*warnings, last)} == {"warning"}
    assert [bool(finding.advice) for finding in (*warnings, last)] == [False, False, False, True]
    assert last.advice.startswith("pip install -c ")
    moving = {finding.subject: "numbers may differ in their last digits" in finding.text for finding in warnings}
    assert moving == {"torch": True, "lm-eval": True, "platformdirs": False}, "which computes nothing"


def test_packages_as_tested_need_no_advice() -> None:
    (line,) = doctor.packages(["rich>=1"], ["rich>=1"])
    assert (line.level, line.text, line.advice) == ("ok", "1 of 1 as tested", "")


def test_a_lock_that_a_killed_snakemake_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert doctor.snakemake_locks().text == "none"
    lock = tmp_path / ".snakemake/locks/0.input.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("results/cells.csv\nconfig/config.yaml\n")
    found = doctor.snakemake_locks()
    assert found.level == "problem" and "prunebench unlock" in found.advice
    assert locks.locked_files() == {Path("results/cells.csv"), Path("config/config.yaml")}


def test_a_lock_of_a_snakemake_that_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    (tmp_path / ".snakemake/locks/0.input.lock").touch()
    (tmp_path / "Snakefile").write_text("print('parsed', flush=True)\nimport time\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "snakemake", "--cores", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout and process.stdout.readline() == "parsed\n"
            found = doctor.snakemake_locks()
            assert (found.level, found.text) == ("ok", f"snakemake runs here, process {process.pid}")
        finally:
            process.kill()
    assert doctor.snakemake_locks().level == "problem"


@pytest.mark.parametrize(
    ("mine", "files", "cpus", "memory"),
    [
        ("0::/job\n", {"job/cpu.max": "150000 100000", "job/memory.max": "max", "memory.max": "4096"}, 1.5, 4096),
        ("0::/\n", {"cpu.max": "max 100000"}, None, None),
        ("4:cpu,cpuacct:/a\n5:memory:/b\n", {
            "cpu/a/cpu.cfs_quota_us": "300000", "cpu/a/cpu.cfs_period_us": "100000", "cpu/cpu.cfs_quota_us": "-1",
            "cpu/cpu.cfs_period_us": "100000", "memory/b/memory.limit_in_bytes": "8192",
        }, 3.0, 8192),
    ],
    ids=["version 2", "no limit", "version 1"],
)  # fmt: skip
def test_limits_of_control_groups(
    mine: str,
    files: dict[str, str],
    cpus: float | None,
    memory: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cgroups, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cgroups, "MEMBERSHIP", tmp_path / "mine")
    (tmp_path / "mine").write_text(mine)
    for name, text in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text + "\n")
    assert (cgroups.cpu_limit(), cgroups.memory_limit()) == (cpus, memory)


def test_a_full_or_closed_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "not/there/yet"
    assert doctor.disk(place).text.endswith("GiB free")
    monkeypatch.setattr(doctor, "NO_DISK", 1 << 60)
    assert doctor.disk(place).level == "problem"


def test_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "partitions", list)
    assert doctor.slurm().text == "none"
    monkeypatch.setattr(doctor, "partitions", lambda: [Partition("main", True, 2, 60, 1000)])
    monkeypatch.setattr(doctor, "version", lambda library: None)
    found = doctor.slurm()
    assert (found.level, found.text) == ("warning", "main (2 GPUs a node); Snakemake cannot use it yet")
    assert "'.[slurm]'" in found.advice
    monkeypatch.setattr(doctor, "version", lambda library: "2.8.0")
    assert doctor.slurm().level == "ok"


def test_thread_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert "OMP_NUM_THREADS=7" in doctor.threads().text
