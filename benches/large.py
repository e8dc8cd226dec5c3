"""A model larger than memory, pruned and measured through the workflow, with its memory sampled from outside.

`python -m benches.large make DIR` writes a random model of LLaMA's architecture (26 GB by default) and a text.
`python -m benches.large run DIR --method wanda --kill-at 20` prunes and evaluates it as a study would, kills all
processes once at the given block, lets Snakemake go on, and prints a table of blocks, seconds and memory.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import psutil
import torch
import typer
import yaml
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from prunebench.storage.files import write_json

VOCABULARY = 32_000
CONTEXT = 512
DONE = re.compile(r"block (\d+) of \d+,")
RULES = ("prune", "evaluate")
"""The rules whose jobs report finished blocks."""
app = typer.Typer(help=__doc__)


@app.command()
def make(
    directory: Path,
    blocks: Annotated[int, typer.Option(help="number of blocks; each of the default width takes 405 MB")] = 64,
    hidden: Annotated[int, typer.Option(help="width of the hidden states")] = 4096,
    ffn: Annotated[int, typer.Option(help="width of the feed-forward layers")] = 11008,
) -> None:
    """Write a random model, block by block, and a text of random words."""
    directory.mkdir(parents=True)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=ffn,
        num_hidden_layers=blocks,
        num_attention_heads=hidden // 128,
        num_key_value_heads=hidden // 128,
        max_position_embeddings=CONTEXT,
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",
        bos_token_id=0,
        eos_token_id=0,
    )
    config.save_pretrained(directory)
    shards = [
        ("head", _head(hidden)),
        *((f"block{block:03d}", _block(block, blocks, hidden, ffn)) for block in range(blocks)),
    ]
    size, where = 0, dict[str, str]()
    for name, shapes in shards:
        tensors = {key: _random(shape, f"{name} {key}", std) for key, (shape, std) in shapes.items()}
        save_file(tensors, directory / f"model-{name}.safetensors", metadata={"format": "pt"})
        where |= dict.fromkeys(tensors, f"model-{name}.safetensors")
        size += sum(tensor.nbytes for tensor in tensors.values())
    write_json(directory / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": where})
    words = random.Random(0)
    vocabulary = ["".join(words.choices("abcdefghij", k=words.randint(2, 8))) for _ in range(5000)]
    documents = [" ".join(words.choices(vocabulary, k=2000)) for _ in range(40)]
    _tokenizer(documents).save_pretrained(directory)
    directory.with_name(f"{directory.name}.txt").write_text("\n\n".join(documents), encoding="utf-8")
    print(f"{size / 1e9:.1f} GB in {directory}")


def _head(hidden: int) -> dict[str, tuple[tuple[int, ...], float]]:
    return {
        "model.embed_tokens.weight": ((VOCABULARY, hidden), 0.02),
        "lm_head.weight": ((VOCABULARY, hidden), 0.02),
        "model.norm.weight": ((hidden,), 0.0),
    }


def _block(block: int, blocks: int, hidden: int, ffn: int) -> dict[str, tuple[tuple[int, ...], float]]:
    """List shape and standard deviation of each tensor. Outputs are scaled as in GPT-2, so that sums stay finite."""
    small = 0.02 / (2 * blocks) ** 0.5
    sizes: dict[str, tuple[tuple[int, ...], float]]
    sizes = {f"self_attn.{name}_proj": ((hidden, hidden), small if name == "o" else 0.02) for name in "qkvo"}
    sizes |= {f"mlp.{name}_proj": ((ffn, hidden), 0.02) for name in ("gate", "up")}
    sizes |= {"mlp.down_proj": ((hidden, ffn), small)}
    sizes |= {name: ((hidden,), 0.0) for name in ("input_layernorm", "post_attention_layernorm")}
    return {f"model.layers.{block}.{name}.weight": entry for name, entry in sizes.items()}


def _random(shape: tuple[int, ...], seed: str, std: float) -> torch.Tensor:
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    generator = torch.Generator().manual_seed(random.Random(seed).getrandbits(60))
    return torch.randn(shape, generator=generator, dtype=torch.bfloat16).mul_(std)


def _tokenizer(documents: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(documents, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<s>"]))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="<s>")


@app.command()
def run(
    directory: Path,
    method: Annotated[str, typer.Option(help="the method")] = "wanda",
    kill_at: Annotated[int, typer.Option(help="the block after which everything is killed once; 0 for never")] = 0,
    samples: Annotated[int, typer.Option(help="calibration windows")] = 8,
    seqlen: Annotated[int, typer.Option(help="tokens of a window")] = 128,
    cores: Annotated[int, typer.Option(help="cores for Snakemake, and threads of each job")] = 2,
) -> None:
    """Prune the model in `directory` to 50% and measure its perplexity; print what it took."""
    directory = directory.resolve()
    project = directory.with_name(f"{directory.name}-project")
    project.mkdir(exist_ok=True)
    config = project / "large.yaml"
    config.write_text(yaml.safe_dump(study(directory, method, samples, seqlen, cores)), encoding="utf-8")
    root = Path(__file__).parents[1]
    words = ["snakemake", "-s", str(root / "Snakefile"), "--configfile", str(config), "--cores", str(cores)]
    command = [sys.executable, "-m", *words, "--rerun-incomplete"]
    environment = os.environ | {"PYTHONPATH": str(root / "workflow"), "HF_HUB_OFFLINE": "1"}
    samplings = [watch(command, project, environment, kill_at)]
    if kill_at:
        samplings.append(watch(command, project, environment, 0))
    print("\n".join(report(samplings)))


def study(model: Path, method: str, samples: int, seqlen: int, cores: int) -> dict[str, object]:
    """Build the config of a study of one cell."""
    text = {"kind": "path", "path": str(model.with_name(f"{model.name}.txt"))}
    return {
        "studies": {
            "large": {
                "suites": ["ppl_words"],
                "defaults": {"calibration": f"words_{samples}x{seqlen}"},
                "grid": [{"model": "large", "method": method, "sparsity": 0.5}],
            }
        },
        "compute": {"dtype": "bfloat16", "batch_size": 4, "threads": cores},
        "keep_weights": "none",
        "models": {"large": {"title": "Large", "family": "llama", "source": {"kind": "path", "path": str(model)}}},
        "corpora": {"words": {"title": "Words", "documents": "lines", "source": text}},
        "suites": {
            "ppl_words": {"suite": "perplexity", "params": {"corpora": ["words"], "seqlen": seqlen, "windows": 8}}
        },
    }


@dataclass
class Sampling:
    """The life of one run of Snakemake, seen from outside. Memory is in MiB, of the largest process."""

    seconds: float = 0.0
    anonymous: float = 0.0
    resident: float = 0.0
    blocks: list[tuple[str, int, float, float, float]] = field(default_factory=list)
    """For each finished block: the rule, its number, the seconds so far, and its peaks of RSS and of RssAnon."""
    returncode: int | None = None


def watch(command: list[str], project: Path, environment: dict[str, str], kill_at: int) -> Sampling:
    """Run `command` in `project`, sample the memory of all its processes, and kill them after block `kill_at`."""
    for log in project.glob("logs/*/**/*.log"):
        log.unlink()
    sampling, start, known = Sampling(), time.monotonic(), 0
    process = subprocess.Popen(command, cwd=project, env=environment, start_new_session=True)
    peak = anonymous = 0.0
    while (code := process.poll()) is None:
        for resident, private in _memory(process.pid):
            peak, anonymous = max(peak, resident), max(anonymous, private)
            sampling.resident, sampling.anonymous = max(sampling.resident, peak), max(sampling.anonymous, anonymous)
        done = list(_done(project / "logs"))
        for rule, block in done[known:]:
            sampling.blocks.append((rule, block, time.monotonic() - start, peak, anonymous))
            peak = anonymous = 0.0
        known = len(done)
        if kill_at and ("prune", kill_at) in done:
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.1)
    sampling.seconds, sampling.returncode = time.monotonic() - start, code
    return sampling


def _done(logs: Path) -> Iterator[tuple[str, int]]:
    """List the finished blocks of all jobs, in the order in which they run."""
    for rule in RULES:
        for log in logs.glob(f"{rule}/**/*.log"):
            for number in DONE.findall(log.read_text(encoding="utf-8", errors="replace")):
                yield rule, int(number)


def _memory(pid: int) -> Iterator[tuple[float, float]]:
    """Give RSS and RssAnon of the process and all below it."""
    try:
        family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            lines = dict(line.split(":", 1) for line in Path(f"/proc/{member}/status").read_text().splitlines())
            resident, anonymous = (int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))
        except (OSError, KeyError):
            continue
        yield resident, anonymous


def report(samplings: list[Sampling]) -> Iterator[str]:
    """Write the table: each block with the seconds since the one before, and the peaks of memory meanwhile."""
    for number, sampling in enumerate(samplings, start=1):
        yield f"run {number}: {sampling.seconds:.0f} s, exit code {sampling.returncode}"
        yield f"peak RSS {sampling.resident:.0f} MiB, of anonymous memory {sampling.anonymous:.0f} MiB"
        yield "| job | block | seconds | peak RSS MiB | anonymous MiB |\n|:--|--:|--:|--:|--:|"
        before = 0.0
        for rule, block, at, resident, anonymous in sampling.blocks:
            yield f"| {rule} | {block} | {at - before:.1f} | {resident:.0f} | {anonymous:.0f} |"
            before = at


if __name__ == "__main__":
    app()
