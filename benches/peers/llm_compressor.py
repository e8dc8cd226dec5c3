"""Prune a model with llm-compressor, in an environment of its own: a peer of `python -m benches.peers`.

It imports nothing of prunebench. It writes the pruned model to OUT, and the cost of pruning alone, without imports and
without reading and writing the model, to OUT/measured.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
from transformers import AutoModelForCausalLM, AutoTokenizer

MODIFIERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "wanda": (WandaPruningModifier, {}),
    "sparsegpt": (SparseGPTModifier, {}),
    "owl": (WandaPruningModifier, {"sparsity_profile": "owl", "owl_m": 5, "owl_lmbda": 0.08}),
}


def main() -> None:
    """Prune the model that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=MODIFIERS)
    parser.add_argument("--model", type=Path, required=True, help="a from_pretrained directory")
    parser.add_argument("--tokens", type=Path, required=True, help=".npy, int64 [samples, seqlen]")
    parser.add_argument("--sparsity", type=float, required=True)
    parser.add_argument("--dtype", required=True)
    parser.add_argument("--out", type=Path, required=True)
    job = parser.parse_args()
    tokens = np.load(job.tokens)
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=getattr(torch, job.dtype))
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    modifier, options = MODIFIERS[job.method]
    ones = [[1] * tokens.shape[1]] * len(tokens)
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    oneshot(
        model=model,
        tokenizer=tokenizer,
        dataset=Dataset.from_dict({"input_ids": tokens.tolist(), "attention_mask": ones}),
        # A plain "lm_head" does not match there, and the head would be pruned.
        recipe=modifier(sparsity=job.sparsity, targets=["Linear"], ignore=["re:.*lm_head"], **options),
        max_seq_length=tokens.shape[1],
        num_calibration_samples=len(tokens),
        shuffle_calibration_samples=False,
    )
    seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF)
    model.save_pretrained(job.out, save_compressed=False)
    tokenizer.save_pretrained(job.out)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    (job.out / "measured.json").write_text(json.dumps({"seconds": seconds, "cpu_seconds": cpu}))


if __name__ == "__main__":
    main()
