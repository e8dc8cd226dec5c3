"""Python programs in processes of their own that begin with the heavy libraries imported.

`directory()` holds a `python` to be called like the real one (with a file, -m or -c). It asks a server that imported
those libraries and nothing else for a fork of itself, hands it its arguments, directory, environment, stdin, stdout and
stderr, and ends as it ends. `prunebench` is imported anew by each fork, from where its PYTHONPATH says. Importing takes
longer than all that most commands do on tiny models.

What libraries read from the environment when they are imported, the server has read: SETTINGS, and that there is no
hub. A test that needs something else there, or measures a process, starts the real Python.
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
from collections.abc import Mapping, Sequence
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
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "HF_HUB_OFFLINE": "1",
}
CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"."], [0, 1, 2])
    server.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode() + b"\\n")
    code = int(server.makefile().readline() or 70)
if code < 0:
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


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
    client = place / "python"
    client.write_text(CLIENT.format(python=sys.executable, address=address))
    client.chmod(0o755)
    return place


def run(
    program: Path, arguments: Sequence[str], directory: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run the file `program` in `directory`; stdout and stderr are one text."""
    return subprocess.run(
        [python(), str(program), *arguments],
        cwd=directory,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


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
    """Fork the process that `client` asks for, and tell it its exit code; if the client is killed, so is the process."""
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
    if ended not in select.select([client, ended], [], [])[0]:
        os.kill(process, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with suppress(OSError):
        client.sendall(f"{code}\n".encode())
    os._exit(0)


def _become(words: list[str], directory: str, environment: dict[str, str]) -> None:
    """Run what `python WORDS` runs."""
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
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
