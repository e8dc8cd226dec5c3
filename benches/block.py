"""`python -m benches.block`: SparseLLM on one block, beside a plain version and the counted floor; in `make bench` too.

Time by CPU seconds of the block alone, one thread, all versions in turn in one run; peak memory by calibration size.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors.torch import load_file
from tabulate import tabulate

from benches import commands, floor, report
from benches.cases import PLAIN
from benches.commands import Job
from benches.run import load_bench, measure_rates
from prunebench import registry
from prunebench.estimate import operations
from prunebench.storage.files import read_json, write_json

BLOCK, SPARSITY, EPOCHS = 15, 0.7, 4
SEQLEN, SAMPLES = 512, 16
SIZES = (8, 16, 32, 64)
"""The numbers of samples for which memory is compared, in two epochs, because later ones take no more."""
CALIBRATION = f"c4_type_{max(SIZES)}x{SEQLEN}"
SAME = {"s_step": "gradient", "ridge": None, "keep_best": False}
"""The choices of the plain version, with which our masks can be compared."""
VERSIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "bfloat16": ("bfloat16", {}),
    "float32": ("float32", {}),
    "float32, steps as plain": ("float32", SAME),
}
"""Our versions by name: dtype and parameters."""
BEGIN, END = "<!-- block: written by make bench -->", "<!-- end of block -->"


def main(
    repeats: Annotated[int, typer.Option(help="of each version")] = 2,
    keep: Annotated[bool, typer.Option(help="in docs/performance.{json,md}")] = True,
) -> None:
    """Time every version, print the tables, and keep them."""
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        bench = load_bench("full", Path(work))
        cell = next(cell for cell in bench.plan.studies[bench.study].cells if cell.calibration == CALIBRATION)
        tokens = str(bench.plan.job("prune", **cell.wildcards).input("tokens"))
        commands.prepare([tokens, str(bench.model / "asset.json")])
        family = bench.plan.config.models[bench.dense.model].family
        sizes, rates = floor.read_sizes(bench.model, registry.load("models", family)), measure_rates(bench)

        def job(name: str, version: str, samples: int, **options: object) -> Job:
            result, weights = bench.work / f"{name}.json", bench.work / f"{name}.safetensors"
            where = {"model": bench.model, "tokens": tokens, "samples": samples, "result": result, "weights": weights}
            fixed = {"family": family, "block": BLOCK, "sparsity": SPARSITY, "epochs": EPOCHS}
            words = [
                str(word) for option in (where | fixed | options).items() for word in (f"--{option[0]}", option[1])
            ]
            return Job(("-m", "benches.one_block", version, *words), result, result)

        jobs = {PLAIN: job(PLAIN, "plain", SAMPLES)} | {
            name: job(name, "ours", SAMPLES, dtype=dtype, params=json.dumps(params))
            for name, (dtype, params) in VERSIONS.items()
        }
        runs: dict[str, list[report.Record]] = {name: [] for name in jobs}
        for _ in range(repeats):
            for name, timed in jobs.items():
                runs[name].append(timed.run())
                print(f"{name}: {runs[name][-1]['cpu_seconds']:.1f} CPU s", flush=True)
        versions = {
            name: report.version(costs) | {"reconstruction": costs[0]["reconstruction"]} for name, costs in runs.items()
        }
        compare(versions, sizes, rates)
        for name in VERSIONS:
            versions[name]["same_masks"] = same(jobs[PLAIN], jobs[name])
        memory = [
            {"samples": samples}
            | {
                where: job(f"{samples}_{where}", "ours", samples, dtype="bfloat16", params=json.dumps(params)).run()
                for where, params in {"files": {"epochs": 2, "memory": 0}, "memory": {"epochs": 2}}.items()
            }
            for samples in SIZES
        ]
    record = {"machine": report.machine(rates), "versions": versions, "memory": memory}
    print(tables(record))
    if keep:
        earlier = read_json(Path("docs/performance.json"))
        write_json(Path("docs/performance.json"), earlier | {"block": record})
        report.insert_into(Path("docs/performance.md"), tables(record), BEGIN, END)


def compare(versions: dict[str, report.Record], sizes: operations.Sizes, rates: dict[str, float]) -> None:
    """Add ratios to the plain version and to the floors, in float32 and in a version's own dtype."""
    for name, (dtype, _) in VERSIONS.items():
        ours = versions[name]
        for floor_of in dict.fromkeys(("float32", dtype)):
            flops = operations.sparsellm_block(sizes, SAMPLES * SEQLEN, SEQLEN, floor_of, EPOCHS)
            least = operations.seconds(flops, rates)
            ours[f"{floor_of}_floor_seconds"] = round(least, 3)
            ours[f"over_{floor_of}_floor"] = round(ours["cpu_seconds"] / least, 3)
        ours["cpu_speedup"] = round(versions[PLAIN]["cpu_seconds"] / ours["cpu_seconds"], 3)


def same(plain: Job, ours: Job) -> float:
    """Compute the fraction of the block's weights that are zero in both versions or in neither."""
    theirs, own = (load_file(job.result.with_suffix(".safetensors")) for job in (plain, ours))
    equal = torch.cat([(theirs[linear] == own[linear]).flatten() for linear in theirs])
    return equal.double().mean().item()


def tables(record: report.Record) -> str:
    """Write both tables as Markdown."""
    versions = [
        {
            "version": name,
            "CPU seconds": f"{version['cpu_seconds']:.1f}",
            "peak MB": f"{version['peak_memory_mb']:.0f}",
            "plain/ours": _ratio(version, "cpu_speedup"),
            "ours/float32 floor": _ratio(version, "over_float32_floor"),
            "ours/bfloat16 floor": _ratio(version, "over_bfloat16_floor"),
            "reconstruction loss": f"{version['reconstruction']:.4f}",
            "same masks": f"{version['same_masks']:.2%}" if "same_masks" in version else "",
        }
        for name, version in record["versions"].items()
    ]
    memory = [
        {
            "samples": row["samples"],
            "MB before": f"{row['files']['memory_before_mb']:.0f}",
            "peak MB more, variables in files": f"{row['files']['peak_memory_mb']:.0f}",
            "in memory": f"{row['memory']['peak_memory_mb']:.0f}",
        }
        for row in record["memory"]
    ]
    both = (tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True) for rows in (versions, memory))
    return "\n\n".join(both)


def _ratio(version: report.Record, key: str) -> str:
    return f"{version[key]:.2f}" if key in version else ""


if __name__ == "__main__":
    typer.run(main)
