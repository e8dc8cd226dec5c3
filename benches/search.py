"""`python -m benches.search`: the cost of an evaluation in a search, beside the forward pass that it cannot avoid.

CPU seconds on one thread: dense forward passes over the tuning windows and evaluations of random functions take turns
in one run, so that what else the machine does falls on both.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import torch
import typer
from tabulate import tabulate

from benches import commands
from prunebench import registry
from prunebench.assets.corpora import load_split
from prunebench.assets.manifest import load_manifest
from prunebench.assets.tokens import first_windows, load_tokenizer
from prunebench.dsa.operations import Invalid
from prunebench.engine.anatomy import Anatomy
from prunebench.engine.model import StreamedModel
from prunebench.errors import CellFailure
from prunebench.plan import paths
from prunebench.plan.plan import read_plan
from prunebench.search.fitness import Fitness, MaskedWeights

STUDY = Path("config/studies/dsa-mini.yaml")
SEARCH = "dsa_70"


def main(evaluations: Annotated[int, typer.Option(help="of random functions")] = 20) -> None:
    """Time both and print a table."""
    torch.set_num_threads(commands.THREADS)
    plan = read_plan(STUDY)
    entry = plan.config.searches[SEARCH]
    model, corpus = paths.MODEL.format(model=entry.model), paths.CORPUS.format(corpus=entry.corpus)
    profile = str(plan.job("search_allocation", search=SEARCH, seed=0).input("profile"))
    commands.python(*commands.SNAKEMAKE[:-1], str(STUDY), "--", model, corpus, profile)
    directory = load_manifest(Path(model)).directory
    family = registry.load("models", plan.config.models[entry.model].family)
    compute = entry.compute or plan.config.compute
    anatomy = Anatomy(directory, family, torch.bfloat16, Path(profile))
    weights = MaskedWeights(anatomy)
    windows = first_windows(
        load_tokenizer(directory), load_split(Path(corpus).parent, "tuning"), entry.seqlen, entry.windows, corpus
    )
    streamed = StreamedModel(
        directory, family, dtype=getattr(torch, compute.dtype), storage=torch.bfloat16, device="cpu", overrides=weights
    )
    fitness = Fitness(streamed, weights, anatomy, torch.from_numpy(windows), compute.batch_size)
    space, dense = registry.load("search", entry.space)(anatomy, float(entry.sparsity)), fitness.counts({})
    rng = random.Random(0)
    forward: list[float] = []
    allocated: list[float] = []
    judged: list[float] = []
    while len(judged) < evaluations:
        candidate = space.draw(rng)
        if space.reject(candidate):
            continue
        start = time.process_time()
        try:
            counts = fitness.counts(space.allocate(candidate))
        except (Invalid, CellFailure):
            continue
        finally:
            allocated.append(time.process_time() - start)
        for counted, of in ((dense, forward), (counts, judged)):
            start = time.process_time()
            fitness.perplexity(counted)
            of.append(time.process_time() - start)
    per_evaluation = (sum(allocated) + sum(judged)) / evaluations
    rows = [
        ("dense forward pass", median(forward), 1.0),
        ("masked forward pass", median(judged), median(judged) / median(forward)),
        ("functions, per evaluation", sum(allocated) / evaluations, sum(allocated) / evaluations / median(forward)),
        ("an evaluation, all of it", per_evaluation, per_evaluation / median(forward)),
    ]
    print(tabulate(rows, ("what", "CPU seconds", "in forward passes"), floatfmt=".2f", tablefmt="pipe"))
    print(f"{600 / per_evaluation * 2:.0f} evaluations in ten minutes of two cores, a search on each")


if __name__ == "__main__":
    typer.run(main)
