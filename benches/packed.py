"""`python -m benches.packed`: a random model of TinyLlama's shape, dense, by our dense kernel, and packed, in turn.

Ratios of one run on an idle machine count; CPU seconds, which other programs disturb less, stand beside wall seconds.
"""

from __future__ import annotations

from typing import Annotated

import torch
import typer
from tabulate import tabulate
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from prunebench.models.llama import Llama
from prunebench.packed import kernels
from prunebench.packed.linear import DenseLinear, PackedLinear
from prunebench.packed.load import by_dense_kernel, twin
from prunebench.packed.matrix import PackedMatrix
from prunebench.packed.timing import in_turn

SHAPES = {
    "tinyllama": {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32}
    | {"num_key_value_heads": 4, "vocab_size": 32000, "max_position_embeddings": 2048},
    "smollm2-135m": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9}
    | {"num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 2048, "tie_word_embeddings": True},
    # to try the script
    "tiny": {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    | {"num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 2048},
}

BLOCKS = Llama.blocks


def main(
    shape: Annotated[str, typer.Option(help=f"one of {', '.join(SHAPES)}")] = "tinyllama",
    sparsities: Annotated[str, typer.Option(help="separated by commas")] = "0.5,0.7,0.8",
    threads: Annotated[str, typer.Option(help="separated by commas")] = "1,2",
    tokens: Annotated[int, typer.Option(help="written in each pass")] = 16,
    prompt: Annotated[int, typer.Option(help="tokens of the long prompt")] = 512,
    batch: Annotated[int, typer.Option(help="sequences at once")] = 1,
    repeats: Annotated[int, typer.Option(help="passes of each model")] = 5,
    bits: Annotated[int, typer.Option(help="16, or 8 for packed values of 8 bits")] = 16,
) -> None:
    """Time every model at every sparsity and number of threads, and print the table of ratios to torch's dense one."""
    print(f"kernel: {kernels.chosen().why}; torch {torch.__version__}")
    rows = []
    for sparsity in map(float, sparsities.split(",")):
        dense = random_model(shape, sparsity)
        models = {"torch": dense, "our dense": by_dense_kernel(dense, BLOCKS), "packed": with_packed(dense, bits)}
        size = weight_bytes(models["packed"]) / weight_bytes(dense)
        for count in map(int, threads.split(",")):
            torch.set_num_threads(count)
            decode = in_turn(models, batch=batch, prompt=16, tokens=tokens, repeats=repeats)
            prefill = in_turn(models, batch=1, prompt=prompt, tokens=1, repeats=max(1, repeats // 2)) if prompt else {}
            for name, speed in decode.items():
                row = {"sparsity": sparsity, "threads": count, "model": name, "decode ms": 1e3 * speed.token.wall}
                for reference in ("torch", "our dense"):
                    row[f"x {reference}"] = decode[reference].token.wall / speed.token.wall
                    row[f"x {reference}, cpu"] = decode[reference].token.cpu / speed.token.cpu
                if prefill:
                    row["prefill s"] = prefill[name].first.wall
                    row["prefill x torch"] = prefill["torch"].first.wall / prefill[name].first.wall
                    row["prefill x torch, cpu"] = prefill["torch"].first.cpu / prefill[name].first.cpu
                rows.append({**row, "weights x dense": size if name == "packed" else 1.0})
            print(tabulate(rows[-3:], headers="keys", floatfmt=".2f"), flush=True)
    print(tabulate(rows, headers="keys", floatfmt=".2f"))


def random_model(shape: str, sparsity: float) -> PreTrainedModel:
    """A bfloat16 model of random weights, of which the linears of the blocks have zeros at random places."""
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(
        LlamaConfig.from_dict(SHAPES[shape]), dtype=torch.bfloat16
    ).eval()
    model.requires_grad_(False)
    for module in model.get_submodule(BLOCKS).modules():
        if isinstance(module, nn.Linear):
            module.weight[torch.rand(module.weight.shape) < sparsity] = 0
    return model


def with_packed(model: PreTrainedModel, bits: int) -> PreTrainedModel:
    """A twin of `model` with packed linears in its blocks."""

    def pack(_: str, linear: nn.Linear) -> nn.Module:
        group = None if bits == 16 else 32 * -(-linear.in_features // 32)
        return PackedLinear(PackedMatrix.of_dense(linear.weight.data, group), linear.bias)

    return twin(model, BLOCKS, pack)


def weight_bytes(model: nn.Module) -> int:
    """The bytes in memory of the weights of the linears in the blocks."""
    modules = model.get_submodule(BLOCKS).modules()
    packed = sum(module.matrix.nbytes for module in modules if isinstance(module, PackedLinear))
    return packed or sum(
        module.weight.nbytes
        for module in model.get_submodule(BLOCKS).modules()
        if isinstance(module, nn.Linear | DenseLinear)
    )


if __name__ == "__main__":
    typer.run(main)
