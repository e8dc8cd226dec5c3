"""Python programs in processes of their own that begin with the heavy libraries imported.

`directory()` holds programs to be called like the real ones of this environment (PROGRAMS), `python` with a file, -m or
-c. Each asks a server that imported those libraries and nothing else for a fork of itself, hands it its arguments,
directory, environment, stdin, stdout and stderr, passes SIGINT and SIGTERM on, and ends as the fork ends. `prunebench`
is imported anew by each fork, from where its PYTHONPATH says. Importing takes longer than all that most commands do on
tiny models.

What libraries read from the environment when they are imported, the server has read: SETTINGS, and that there is no
hub. All forks share the order of Python's sets. A test to which that matters, or that measures a process, starts the
real Python.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

HEAVY = [
    "torch",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",
    "accelerate",
    "datasets",
    "lm_eval.evaluator",
    "lm_eval.models.huggingface",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "great_tables",
    "pandas",
    "plotly.graph_objects",
    "pyarrow.parquet",
    "pydantic",
    "rich.console",
    "safetensors.torch",
    "scipy.stats",
    "snakemake.cli",
    "typer",
    "yaml",
]
SETTINGS = {
    **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON")},
    "THP_MEM_ALLOC_ENABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "HF_HUB_OFFLINE": "1",
}
PROGRAMS = ("python", "snakemake", "prunebench", "pytest")


def python() -> str:
    """A Python whose processes begin warm."""
    return str(directory() / "python")


@cache
def directory() -> Path:
    """The directory to put first on the PATH of processes whose `python` is to begin warm."""
    if not hasattr(os, "pidfd_open"):
        return Path(sys.executable).parent
    folder = TemporaryDirectory(prefix="warm-")
    place, address = Path(folder.name), f"{folder.name}/socket"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | SETTINGS
    server = subprocess.Popen(
        [sys.executable, __file__, address],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert server.stdout is not None and server.stdout.read(1), "the server of warm processes did not start"

    def stop() -> None:
        server.kill()
        server.wait()
        folder.cleanup()

    atexit.register(stop)
    # Neither this environment nor the user's packages: it starts in no time.
    client = f"#!{sys.executable} -IS\n" + Path(__file__).with_name("warm_client.py").read_text(encoding="utf-8")
    for name in PROGRAMS:
        (place / name).write_text(client, encoding="utf-8")
        (place / name).chmod(0o755)
    return place


def _serve(address: str) -> tuple[list[str], str, dict[str, str]]:
    """Fork for each client until stdin ends; a fork returns with its client's words, directory and environment."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(100)
    os.write(1, b".")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        if sys.stdin.buffer.raw in select.select([listener, sys.stdin.buffer.raw], [], [])[0]:
            os._exit(0)
        client, _ = listener.accept()
        if not os.fork():
            listener.close()
            return _attend(client)
        client.close()


def _attend(client: socket.socket) -> tuple[list[str], str, dict[str, str]]:
    """Fork the process that `client` asks for, pass signals on to it and its exit code back; both are killed as one."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, *_ = socket.recv_fds(client, 1, 3)
    words, directory, environment = json.loads(client.makefile().readline())
    process = os.fork()
    if not process:
        client.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        return words, directory, environment
    os.closerange(0, 3)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(process)
    while ended not in select.select([client, ended], [], [])[0]:
        sent = client.recv(1)
        os.kill(process, sent[0] if sent else signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with suppress(OSError):
        client.sendall(f"{code}\n".encode())
    os._exit(0)


def _become(words: list[str], directory: str, environment: dict[str, str]) -> None:
    """Run what `python WORDS` runs."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    if "--threads" in words[:-1]:
        # Else read when torch is imported, from the environment that jobs of the workflow set for themselves.
        sys.modules["torch"].set_num_threads(int(words[words.index("--threads") + 1]))
    first, *rest = words
    place = str(Path(first).parent.resolve()) if not first.startswith("-") else ""
    sys.path[:1] = [place, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    if first == "-c":
        sys.argv = [first, *rest[1:]]
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), vars(main))
    elif first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first.startswith("-"):
        sys.exit(f"warm.py: no such option: {first}")
    else:
        sys.argv = words
        runpy.run_path(first, run_name="__main__")


def _end(status: list[int]) -> None:
    """Leave without taking apart what was imported, which takes longer than importing `prunebench` did."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(ValueError):  # closed
            stream.flush()
    if status:
        os._exit(status[0])


if __name__ == "__main__":
    status: list[int] = []
    atexit.register(_end, status)  # registered first, it comes after what libraries do at the end
    for name in HEAVY:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    try:
        _become(*_serve(sys.argv[1]))
        status.append(0)
    except SystemExit as end:
        status.append(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise
    except Exception:
        status.append(1)
        raise
