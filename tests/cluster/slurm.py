"""A real SLURM of one node on this machine: controller, node and their key, with GPUs that are files.

Everything lies in one directory and listens on the loopback interface. Needs root and the Debian packages `PACKAGES`.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = "slurmctld slurmd slurm-client munge"
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "sacct")
NODE = "node1"
GPUS = 2

CONFIG = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# The default of 120 s is how long a requeued job would wait.
AuthInfo=socket={root}/munge/socket,cred_expire=5
CredType=cred/munge
SlurmctldPort={controller}
SlurmdPort={node}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
# No control groups, which a container does not give away.
# By process group: what a killed batch script leaves behind is still found.
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
# Without control groups, this is what makes a memory request a limit.
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
SwitchType=switch/none
# The node has what this file says, not what the machine has.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
GresTypes=gpu
ReturnToService=2
JobRequeue=1
KillWait=2
# Finished jobs stay in the controller's memory, which is the record that tests read.
MinJobAge=36000
PropagateResourceLimits=NONE
AccountingStorageType=accounting_storage/none
NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 CPUs=16 RealMemory=64000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes={name} Default=YES MaxTime=600 State=UP
PartitionName=other Nodes={name} MaxTime=600 State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """A running cluster below `root`."""

    root: Path
    users: list[subprocess.Popen[str]] = field(default_factory=list)
    """Processes that use it: none outlives it."""

    @property
    def environment(self) -> dict[str, str]:
        """The environment of clients. The inner srun of a job is not given SLURM_CONF, so programs on PATH set it."""
        return {"PATH": f"{self.root / 'bin'}:{os.environ['PATH']}"}

    def call(self, program: str, *arguments: str, check: bool = True) -> str:
        """The output of a client program."""
        command = [str(self.root / "bin" / program), *arguments]
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
        assert run.returncode == 0 or not check, run.stdout
        return run.stdout

    def jobs(self) -> list[dict[str, str]]:
        """The scheduler's record of every job there has been: the fields of `scontrol show job`, by name."""
        blocks = self.call("scontrol", "show", "job", "--details", "--oneliner").splitlines()
        found = [dict(word.partition("=")[::2] for word in block.split() if "=" in word) for block in blocks]
        return [job for job in found if "JobId" in job]


def missing() -> str | None:
    """Why there can be no SLURM here, if so."""
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        return "no executor for SLURM is installed: pip install -c constraints.txt -e '.[slurm]'"
    if os.geteuid():
        return "a SLURM of its own needs root"
    lacking = [program for program in PROGRAMS if shutil.which(program, path=_PATH) is None]
    return f"{lacking[0]} is not here: apt-get install {PACKAGES}" if lacking else None


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin"


@contextmanager
def running() -> Iterator[Slurm]:
    """Start one, and at the end stop what was started."""
    with ExitStack() as stack:
        # Not below pytest's directory: the key daemon wants one that all users may enter.
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="prunebench-slurm-", dir="/tmp")))
        root.chmod(0o755)
        _write_files(root)
        slurm = Slurm(root)
        munge, config = root / "munge", {"SLURM_CONF": str(root / "slurm.conf")}
        files = [f"--{name}={munge / name}" for name in ("key-file", "socket", "pid-file", "log-file", "seed-file")]
        stack.enter_context(_daemon(root, "munged", "--foreground", *files))
        _wait(lambda: (munge / "socket").exists(), "munged", root)
        stack.enter_context(_daemon(root, "slurmctld", "-D", **config))
        _wait(lambda: "is UP" in slurm.call("scontrol", "ping", check=False), "slurmctld", root)
        stack.enter_context(_daemon(root, "slurmd", "-D", "-N", NODE, **config))
        _wait(lambda: slurm.call("sinfo", "-h", "-o", "%t", check=False).split()[:1] == ["idle"], "slurmd", root)
        try:
            yield slurm
        finally:
            for user in slurm.users:
                user.kill()
                user.wait()
            slurm.call("scancel", "--user=root", check=False)
            _wait(lambda: not slurm.call("squeue", "-h", check=False).strip(), "the last job", root)
            _end_strays(root)


def _processes(root: Path) -> list[int]:
    """Processes of jobs of the cluster below `root`."""
    wanted = f"SLURM_CONF={root}/slurm.conf".encode()
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            variables = (directory / "environ").read_bytes().split(b"\0")
            if wanted in variables and any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables):
                found.append(int(directory.name))
    return found


def _end_strays(root: Path) -> None:
    """Kill what jobs have left behind; AssertionError if they have: their end must be that of all their processes."""
    for _ in range(100):
        if not _processes(root):
            return
        time.sleep(0.1)
    strays = _processes(root)
    for process in strays:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    raise AssertionError(f"jobs have ended without their processes {strays}")


def _write_files(root: Path) -> None:
    for name in ("bin", "munge", "state", "spool", "dev"):
        (root / name).mkdir()
    (root / "munge").chmod(0o755)
    key = root / "munge/key-file"
    key.touch(0o600)
    key.write_bytes(os.urandom(128))
    for number in range(GPUS):
        # The device behind /dev/null: anything but a character device leaves CUDA_VISIBLE_DEVICES empty.
        os.mknod(root / f"dev/gpu{number}", 0o20666, os.makedev(1, 3))
    ports = _free_ports(2)
    text = CONFIG.format(root=root, controller=ports[0], node=ports[1], name=NODE, gpus=GPUS)
    (root / "slurm.conf").write_text(text)
    (root / "gres.conf").write_text(f"NodeName={NODE} Name=gpu File={root}/dev/gpu[0-{GPUS - 1}]\n")
    for program in PROGRAMS[3:]:
        wrapper = root / "bin" / program
        real = shutil.which(program, path=_PATH)
        wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={root}/slurm.conf exec {real} "$@"\n')
        wrapper.chmod(0o755)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def _daemon(root: Path, program: str, *arguments: str, **environment: str) -> Iterator[None]:
    found = shutil.which(program, path=_PATH)
    assert found
    with (root / f"{program}.out").open("w") as out:
        process = subprocess.Popen(
            [found, *arguments], stdout=out, stderr=out, stdin=subprocess.DEVNULL, env={**os.environ, **environment}
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(condition: Callable[[], bool], what: str, root: Path) -> None:
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    logs = "\n".join(f"== {file}\n{file.read_text()[-2000:]}" for file in [*root.glob("*.log"), *root.glob("*.out")])
    raise AssertionError(f"{what} does not come up\n{logs}")
