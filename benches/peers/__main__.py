"""`make bench-peers`: our `prunebench prune` beside other programs that prune, on one model and on one file of tokens.

All commands run one after another, in turn, each in a process of its own with as many threads. What they cost is
measured from outside, with imports, loading and writing. llm-compressor also says what pruning alone cost. Ours is
compared with that, which is to its advantage. The perplexity of every pruned model is measured by ours.

`--peer 'NAME=COMMAND'` adds any command that prunes a directory. In it {model}, {tokens}, {method}, {sparsity},
{dtype}, {threads} and {out} are replaced; {tokens} is an .npy file, int64 [samples, seqlen].
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from tabulate import tabulate

from benches import commands, report
from benches.run import load_bench
from prunebench.runtime.script import THREAD_VARIABLES
from prunebench.storage.files import read_json, write_json

ENVIRONMENT = Path(".peers")
"""The virtual environment of llm-compressor, which `make bench-peers` makes."""
OURS = "prunebench"
PRUNEBENCH = str(Path(sys.executable).with_name("prunebench"))
"""The command beside the running Python."""
METHODS = {
    "wanda": "--method wanda",
    "sparsegpt": "--method sparsegpt",
    "owl": "--method wanda --allocator owl",
}
"""The options of ours for each method; OWL with the scores of Wanda, as llm-compressor has it here."""
COMMANDS = {
    OURS: "{prunebench} prune {model} {options} --sparsity {sparsity} --calibration {tokens} --dtype {dtype} "
    "--threads {threads} --device cpu --json --out {out}",
    "llm-compressor": "{peers} benches/peers/llm_compressor.py {method} --model {model} --sparsity {sparsity} "
    "--tokens {tokens} --dtype {dtype} --out {out}",
}
CORPORA = ("c4_type", "wikipedia")
BEGIN, END = "<!-- peers: written by make bench-peers -->", "<!-- end of peers -->"


@dataclass
class Outcome:
    """One program's way of one method: the cost of each run, and the perplexity of the pruned model by corpus."""

    method: str
    program: str
    costs: list[dict[str, float]] = field(default_factory=list)
    failure: str = ""
    """The last line that the program wrote when it failed."""
    perplexity: dict[str, float] = field(default_factory=dict)

    def least(self, key: str) -> float | None:
        """The least cost of all runs, as noise only adds; None if the program does not tell it."""
        known = [cost[key] for cost in self.costs if key in cost]
        return min(known) if known else None


def main(
    methods: Annotated[list[str] | None, typer.Argument(help=f"of {', '.join(METHODS)}; default: all")] = None,
    peer: Annotated[list[str] | None, typer.Option(help="NAME=COMMAND, another program; repeatable")] = None,
    repeats: Annotated[int, typer.Option(help="of each command")] = 3,
    threads: Annotated[int, typer.Option(help="of each command")] = 2,
    dtype: Annotated[str, typer.Option(help="of the forward passes")] = "bfloat16",
    sparsity: Annotated[float, typer.Option(help="fraction of zeros")] = 0.5,
    windows: Annotated[int, typer.Option(help="of each corpus, for the perplexity; 0: none")] = 32,
    keep: Annotated[bool, typer.Option(help="the table in docs/performance.md")] = True,
) -> None:
    """Run all commands in turn, and print what they cost and what their models are worth."""
    programs = COMMANDS | dict(map(_named, peer or []))
    outcomes = [Outcome(method, program) for method in methods or METHODS for program in programs]
    with tempfile.TemporaryDirectory(prefix="peers-") as work:
        model, tokens = _inputs(Path(work))
        words = {"prunebench": PRUNEBENCH, "peers": str((ENVIRONMENT / "bin/python").absolute()), "model": model}
        words |= {"tokens": tokens, "sparsity": str(sparsity), "dtype": dtype, "threads": str(threads)}

        def out(outcome: Outcome) -> Path:
            return Path(work) / f"{outcome.method} by {outcome.program}"

        for _ in range(repeats):
            for outcome in outcomes:
                quoted = {name: shlex.quote(word) for name, word in words.items()}
                quoted |= {"method": outcome.method, "options": METHODS[outcome.method]}
                command = programs[outcome.program].format(**quoted, out=shlex.quote(str(out(outcome))))
                try:
                    outcome.costs.append(cost(shlex.split(command), out(outcome), threads))
                except RuntimeError as error:
                    # Not every release of another program can do all that it lists.
                    if outcome.program == OURS:
                        raise
                    outcome.failure = str(error).strip().splitlines()[-1]
                said = outcome.failure or f"{outcome.costs[-1]['seconds']:.1f} s"
                print(f"{outcome.method}, {outcome.program}: {said}", flush=True)
        for outcome in outcomes if windows else []:
            if outcome.failure:
                continue
            outcome.perplexity = {corpus: _perplexity(out(outcome), corpus, windows) for corpus in CORPORA}
    print(text := table(outcomes))
    if keep:
        file = Path("docs/performance.json")
        settings = {"threads": threads, "dtype": dtype, "sparsity": sparsity, "windows": windows}
        write_json(file, read_json(file) | {"peers": settings | {"rows": [asdict(outcome) for outcome in outcomes]}})
        report.insert_into(file.with_suffix(".md"), text, BEGIN, END)


def cost(argv: list[str], out: Path, threads: int) -> dict[str, float]:
    """Run a command that writes `out`; returns its seconds, CPU seconds and peak MB, and those of pruning if it tells.

    Raises RuntimeError with the output if the command fails.
    """
    shutil.rmtree(out, ignore_errors=True)
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads)), "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryFile("w+") as output:
        start = time.monotonic()
        process = subprocess.Popen(
            argv, env={**environment, "PYTHONPATH": "workflow"}, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - start
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"{shlex.join(argv)}\n{output.read()}")
    alone = read_json(file) if (file := out / "measured.json").exists() else {}
    return {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_memory_mb": usage.ru_maxrss / 1e3,
        **{f"{key}_alone": alone[key] for key in ("seconds", "cpu_seconds") if key in alone},
    }


def table(outcomes: list[Outcome]) -> str:
    """Write all outcomes as a Markdown table. Ratios divide the cost of the peer's pruning alone by all of ours."""
    rows = []
    for outcome in outcomes:
        (ours,) = (other for other in outcomes if (other.method, other.program) == (outcome.method, OURS))
        if outcome.failure:
            rows.append({"method": "", "program": outcome.program, "seconds": outcome.failure})
            continue
        ratios = {"seconds": "", "cpu_seconds": ""}
        for key in ratios if outcome is not ours else ():
            peers, own = outcome.least(f"{key}_alone") or outcome.least(key), ours.least(key)
            ratios[key] = f"{peers / own:.2f}" if peers and own else ""
        rows.append(
            {
                "method": outcome.method if outcome is ours else "",
                "program": outcome.program,
                "seconds": f"{outcome.least('seconds'):.1f}",
                "CPU seconds": f"{outcome.least('cpu_seconds'):.1f}",
                "pruning alone": _number(outcome.least("seconds_alone")),
                "its CPU seconds": _number(outcome.least("cpu_seconds_alone")),
                "peak MB": f"{max(cost['peak_memory_mb'] for cost in outcome.costs):.0f}",
                "peer/ours": ratios["seconds"],
                "by CPU time": ratios["cpu_seconds"],
                **{corpus: f"{value:.2f}" for corpus, value in outcome.perplexity.items()},
            }
        )
    return tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True)


def _inputs(work: Path) -> tuple[str, str]:
    """Let the workflow make the model and the tokens of the bench; returns the directory and the file."""
    bench = load_bench("quick", work)
    cell = next(cell for cell in bench.plan.studies[bench.study].cells if cell != bench.dense)
    tokens = str(bench.plan.job("prune", **cell.wildcards).input("tokens"))
    commands.prepare([tokens, str(bench.model / "asset.json")])
    return str(bench.model), tokens


def _perplexity(model: Path, corpus: str, windows: int) -> float:
    """Measure the perplexity of a pruned model by `prunebench ppl`."""
    argv = [PRUNEBENCH, "ppl", str(model), "--corpus", corpus, "--windows", str(windows)]
    environment = {**os.environ, "PYTHONPATH": "workflow", "HF_HUB_OFFLINE": "1"}
    run = subprocess.run([*argv, "--seqlen", "512", "--json"], env=environment, check=True, capture_output=True)
    value: float = json.loads(run.stdout)["value"]
    return value


def _named(text: str) -> tuple[str, str]:
    """Split NAME=COMMAND."""
    name, equals, command = text.partition("=")
    if not (name and equals and command):
        raise typer.BadParameter(f"--peer {text!r}: write NAME=COMMAND")
    return name, command


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    typer.run(main)
