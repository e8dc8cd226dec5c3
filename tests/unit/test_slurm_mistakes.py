"""Mistakes in a request to SLURM are reported before any job starts, with the change that corrects them."""

from pathlib import Path

import pytest

from prunebench.errors import PrunebenchError
from prunebench.plan import slurm
from prunebench.plan.slurm import Demand, Partition, mistakes

CPU = Partition("cpu", default=True, gpus=0, minutes=60, memory=16_000)
GPU = Partition("gpu", default=False, gpus=4, minutes=float("inf"), memory=512_000)
CLUSTER = [CPU, GPU]


@pytest.mark.parametrize(
    ("request_", "accounts", "expected"),
    [
        (Demand("prune", "gpu", gpus=4, minutes=10**6, memory=512_000), None, ""),
        (Demand("prune", minutes=60, memory=16_000), None, ""),
        (
            Demand("prune", "gpuu"),
            None,
            "Change slurm_partition in profiles/slurm/config.yaml: SLURM has no partition 'gpuu': did you mean 'gpu'?",
        ),
        (
            Demand("prune", "gpu", gpus=5),
            None,
            "prune asks for 5 GPUs on a node, partition 'gpu' has 4. In profiles/slurm/",
        ),
        (Demand("prune", gpus=1), None, "prune asks for 1 GPUs on a node, partition 'cpu' has 0."),
        (Demand("prune", minutes=61), None, "or ask for less: set-resources: {prune: {runtime: 60}}"),
        (Demand("prune", memory=16_001), None, "set-resources: {prune: {mem_mb: 16000}}"),
        (Demand("prune", "gpu", "mine"), ["mine", "ours"], ""),
        (Demand("prune", "gpu"), ["mine", "ours"], ""),
        (Demand("prune", "gpu", "mine"), ["ours"], "you have no SLURM account 'mine'"),
        (
            Demand("prune", "gpu", "minne"),
            ["mine"],
            "config.yaml: you have no SLURM account 'minne': did you mean 'mine'?",
        ),
        (Demand("prune", "cpu,gpu", gpus=4, minutes=61), None, ""),
        (Demand("prune", "cpu,gpuu"), None, "SLURM has no partition 'gpuu': did you mean 'gpu'?"),
        (Demand("prune", "cpu,gpu", gpus=5), None, "prune asks for 5 GPUs on a node, partition 'cpu,gpu' has 4."),
        (Demand("prune", "gpu"), [], "SLURM runs only jobs of an account here, and you have none."),
    ],
)
def test_mistake(request_: Demand, accounts: list[str] | None, expected: str) -> None:
    found = list(mistakes([request_], CLUSTER, accounts))
    assert len(found) == (expected != "")
    assert expected in "".join(found)


def test_no_default_partition() -> None:
    (found,) = mistakes([Demand("prune")], [GPU], None)
    assert found == f"SLURM has no default partition. Set slurm_partition in {slurm.PROFILE} (there is: gpu)"


def test_a_request_is_what_snakemake_knows_of_a_job() -> None:
    resources = {"gpu": 1, "runtime": 60, "mem_mb": "<TBD>", "slurm_partition": "gpu", "tmpdir": "/tmp"}
    assert Demand.of("prune", resources) == Demand("prune", "gpu", None, gpus=1, minutes=60, memory=0)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for programs, and no others."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def add(programs: Path, name: str, prints: str, code: int = 0) -> None:
    (programs / name).write_text(f"#!/bin/sh\n/bin/cat <<'END'\n{prints}END\nexit {code}\n")
    (programs / name).chmod(0o755)


NODES = """\
cpu*|(null)|1:00:00|16000
gpu|gpu:a100:4(S:0-1),shard:8|2-12:30:00|512000
gpu|gpu:2|2-12:30:00|256000+
long|gpu:v100:1,gpu:a100:1|infinite|1000
short|(null)|30:00|1000
"""


def test_partitions(programs: Path) -> None:
    assert slurm.partitions() == [], "without sinfo"
    add(programs, "sinfo", NODES)
    infinite = float("inf")
    assert slurm.partitions() == [
        Partition("cpu", True, 0, 60, 16000),
        Partition("gpu", False, 4, 3630, 512000),
        Partition("long", False, 2, infinite, 1000),
        Partition("short", False, 0, 30, 1000),
    ]


ENFORCED = "AccountingStorageEnforce = associations,limits\nAccountingStorageHost = localhost\n"


def test_accounts(programs: Path) -> None:
    assert slurm.accounts() is None, "without any program"
    add(programs, "sacctmgr", "ours\nmine\nours\n")
    add(programs, "scontrol", "AccountingStorageEnforce = none\n")
    assert slurm.accounts() is None, "jobs need none"
    add(programs, "scontrol", ENFORCED)
    assert slurm.accounts() == ["mine", "ours"]
    add(programs, "sacctmgr", "")
    assert slurm.accounts() == []
    add(programs, "sacctmgr", "", code=1)
    assert slurm.accounts() is None, "it does not answer"


def test_all_mistakes_at_once_each_of_them_once(programs: Path) -> None:
    slurm.check([Demand("prune", "gpuu")])  # nothing is known of the cluster
    add(programs, "sinfo", NODES)
    assert slurm.check([Demand("prune", "gpu", gpus=1)]) == []
    with pytest.raises(PrunebenchError) as error:
        slurm.check([Demand("prune", "gpuu"), Demand("prune", "gpuu"), Demand("evaluate", "gpu", gpus=9)])
    assert len(str(error.value).splitlines()) == 2


def test_a_retry_that_will_not_fit_is_a_warning(programs: Path) -> None:
    add(programs, "sinfo", NODES)
    (partition,) = (one for one in slurm.partitions() if one.name == "gpu")
    half = Demand("prune", "gpu", memory=partition.memory // 2)
    assert slurm.check([half, half], attempts=2) == []
    (warning,) = slurm.check([half, half], attempts=3)
    assert warning.startswith(f"Tried again after a failure, prune asks for {3 * half.memory} MB on a node")
