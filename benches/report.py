"""The results of the bench, as JSON and as a table."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benches.cases import PLAIN, Case
from benches.commands import THREADS
from prunebench.estimate import operations
from prunebench.storage.files import write_text

Record = dict[str, Any]
BEGIN, END = "<!-- table: written by make bench -->", "<!-- end of table -->"


def machine(rates: dict[str, float]) -> Record:
    """Describe the machine that the numbers hold for."""
    facts = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in facts.splitlines() if line.startswith("model name")]
    flags = facts.partition("flags")[2].partition("\n")[0].split()
    return {
        "cpu": names[0] if names else platform.processor(),
        "cpus": os.cpu_count(),
        "threads": THREADS,
        "matrix_units": sorted({"amx_bf16", "avx512_bf16", "avx512f", "avx2"}.intersection(flags)),
        "gflops": {dtype: round(rate / 1e9, 1) for dtype, rate in rates.items()},
    }


def version(runs: list[Record]) -> Record:
    """Summarise a version of a case: the fastest of its runs, since noise only adds, and the highest peak."""
    return {
        "seconds": min(run["seconds"] for run in runs),
        "cpu_seconds": min(run["cpu_seconds"] for run in runs),
        "peak_memory_mb": max(run["peak_memory_mb"] for run in runs),
        "all_seconds": [run["seconds"] for run in runs],
    }


def summary(case: Case, runs: dict[str, list[Record]], sizes: operations.Sizes, rates: dict[str, float]) -> Record:
    """Summarise a case, with ratios to the plain version and to the floor, and the agreement of the results."""
    versions = {name: version(costs) for name, costs in runs.items()}
    plain = versions[PLAIN]
    tokens, seqlen = case.size()
    for name, ours in versions.items():
        ours["tokens_per_second"] = round(tokens / ours["seconds"], 1)
        if name != PLAIN:
            least = operations.seconds(operations.COUNTED[case.counted](sizes, tokens, seqlen, name), rates)
            ours |= {
                "speedup": round(plain["seconds"] / ours["seconds"], 3),
                "cpu_speedup": round(plain["cpu_seconds"] / ours["cpu_seconds"], 3),
                "floor_seconds": round(least, 3),
                "over_floor": round(ours["seconds"] / least, 3),
                "agreement": case.agree(case.plain, case.ours[name]),
            }
    return {"case": case.title, "tokens": tokens, "versions": versions}


def table(summaries: list[Record]) -> str:
    """Write all cases as a Markdown table."""
    rows = [
        {
            "case": case["case"] if name == PLAIN else "",
            "version": name,
            "seconds": f"{version['seconds']:.1f}",
            "CPU seconds": f"{version['cpu_seconds']:.1f}",
            "tokens/s": f"{version['tokens_per_second']:.0f}",
            "peak MB": f"{version['peak_memory_mb']:.0f}",
            "plain/ours": f"{version['speedup']:.2f}" if "speedup" in version else "",
            "by CPU time": f"{version['cpu_speedup']:.2f}" if "speedup" in version else "",
            "ours/floor": f"{version['over_floor']:.2f}" if "over_floor" in version else "",
            "same masks in block 0": _percent(version, "first_block"),
            "in all": _percent(version, "masks"),
            "perplexity": _percent(version, "perplexity", "+"),
            "accuracy": _percent(version, "accuracy", "+"),
        }
        for case in summaries
        for name, version in case["versions"].items()
    ]
    return tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True)


def insert_into(document: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Put `text` between the markers of `document`, which need not exist."""
    old = document.read_text(encoding="utf-8") if document.exists() else ""
    before, _, rest = old.partition(begin)
    _, _, after = rest.partition(end)
    write_text(document, f"{before}{begin}\n\n{text}\n\n{end}{after}")


def _percent(version: Record, key: str, sign: str = "") -> str:
    value = version.get("agreement", {}).get(key)
    return "" if value is None else f"{value:{sign}.2%}"
