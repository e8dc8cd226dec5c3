"""Model directories as people have them: what may stand beside a model, and how its files may name its tensors."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

import tiny

Change = Callable[[Path], None]
EMBEDDINGS = ("embed_tokens", "embed_in", "word_embeddings")
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def edit_config(directory: Path, **values: Any) -> None:
    """Set keys of config.json; None deletes one."""
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config |= values
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def tensors(directory: Path) -> dict[str, Tensor]:
    """All tensors of a model that is one file."""
    return load_file(directory / WEIGHTS)


def rewrite(directory: Path, state: dict[str, Tensor], name: str = WEIGHTS) -> None:
    """Write `state` as a file of the model."""
    save_file({key: tensor.contiguous().clone() for key, tensor in state.items()}, directory / name, {"format": "pt"})


def other_weights(directory: Path) -> dict[str, Tensor]:
    """Tensors of the names and shapes of the model's, with other values."""
    return {name: tensor.flip(0) + 1 for name, tensor in tensors(directory).items()}


def shard(directory: Path) -> None:
    """Two files and their index in place of one."""
    state = tensors(directory)
    names = sorted(state)
    halves = {
        "model-00001-of-00002.safetensors": names[: len(names) // 2],
        "model-00002-of-00002.safetensors": names[len(names) // 2 :],
    }
    for file, half in halves.items():
        rewrite(directory, {name: state[name] for name in half}, file)
    (directory / WEIGHTS).unlink()
    where = {name: file for file, half in halves.items() for name in half}
    (directory / INDEX).write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": where}))


def leftover(directory: Path) -> None:
    """An older save under a name that sorts after the model's."""
    rewrite(directory, other_weights(directory), "model_old.safetensors")


def leftover_before(directory: Path) -> None:
    """Another save under a name that sorts before the model's."""
    rewrite(directory, other_weights(directory), "a_backup.safetensors")


def sharded_with_leftovers(directory: Path) -> None:
    """Shards of an older, larger save beside those that the index names."""
    other = other_weights(directory)
    shard(directory)
    rewrite(directory, other, "model-00003-of-00003.safetensors")
    rewrite(directory, other, "pytorch_model.safetensors")


def stale_index(directory: Path) -> None:
    """One file, and the index and shards of an older save, which transformers passes over."""
    state, other = tensors(directory), other_weights(directory)
    rewrite(directory, other)
    shard(directory)
    rewrite(directory, state)


def second_formats(directory: Path) -> None:
    """Pickled weights, an optimizer's state, Mistral's own file and a variant."""
    other = other_weights(directory)
    torch.save(other, directory / "pytorch_model.bin")
    torch.save({"step": 1}, directory / "training_args.bin")
    for name in ("optimizer.safetensors", "consolidated.safetensors", "model.fp16.safetensors"):
        rewrite(directory, other, name)


def adapter_weights(directory: Path) -> None:
    """The weights of an adapter without its config, which nothing loads."""
    rewrite(directory, {"base_model.model.lora_A.weight": torch.ones(2, 2)}, "adapter_model.safetensors")


def checkpoints_below(directory: Path) -> None:
    """A trainer's checkpoint in a directory below."""
    shutil.copytree(directory, directory / "checkpoint-10")
    rewrite(directory / "checkpoint-10", other_weights(directory))


def bare_decoder(directory: Path) -> None:
    """Saved by AutoModel: names without their first part, and without a head (which is tied)."""
    state = tensors(directory)
    prefix = next(name for name in state if ".0." in name).partition(".")[0] + "."
    bare = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name != "lm_head.weight"}
    rewrite(directory, bare)


def head_only(directory: Path) -> None:
    """Saved by safetensors' save_model: of two tied tensors the one that comes first by name."""
    state = tensors(directory)
    embedding = next(
        name for name in state if name.rsplit(".", 2)[-2] in ("embed_tokens", "embed_in", "word_embeddings")
    )
    state["lm_head.weight"] = state.pop(embedding)
    rewrite(directory, state)


def both_tied(directory: Path) -> None:
    """Both names of a tied pair, with equal tensors, as in converted pickles."""
    state = tensors(directory)
    embedding = next(
        name for name in state if name.rsplit(".", 2)[-2] in ("embed_tokens", "embed_in", "word_embeddings")
    )
    rewrite(directory, {**state, "lm_head.weight": state[embedding]})


def another_head(directory: Path) -> None:
    """A tie in config.json, and a head of its own in the file."""
    state = tensors(directory)
    embedding = next(
        name for name in state if name.rsplit(".", 2)[-2] in ("embed_tokens", "embed_in", "word_embeddings")
    )
    rewrite(directory, {**state, "lm_head.weight": state[embedding].flip(0)})


def doubled_prefix(directory: Path) -> None:
    """Saved as part of a model that held the model under the name of its decoder."""
    state = tensors(directory)
    prefix = min(name.partition(".")[0] for name in state if not name.startswith("lm_head"))
    rewrite(directory, {f"{prefix}.{name}": tensor for name, tensor in state.items()})


def in_two_shards(directory: Path) -> None:
    """A tensor in two shards, of which transformers takes the later one's."""
    state = tensors(directory)
    shard(directory)
    first = load_file(directory / "model-00001-of-00002.safetensors")
    late = sorted(state)[-1]
    rewrite(directory, first | {late: state[late] + 1}, "model-00001-of-00002.safetensors")


def flags(directory: Path) -> None:
    """Tensors of no use in the blocks, more than there are weights, and not of numbers."""
    junk = {f"model.layers.0.junk{number}": torch.ones(3, dtype=torch.bool) for number in range(60)}
    rewrite(directory, tensors(directory) | junk)


def more_blocks(directory: Path) -> None:
    """A block more than config.json says, which transformers passes over."""
    state = tensors(directory)
    rewrite(directory, state | {name.replace(".1.", ".2."): tensor for name, tensor in state.items() if ".1." in name})


def old_buffers(directory: Path) -> None:
    """Buffers that older releases saved."""
    state = tensors(directory)
    state["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.arange(4).float()
    state["model.position_ids"] = torch.arange(8)
    rewrite(directory, state)


def named_weights(directory: Path) -> None:
    """The name of the file in config.json."""
    state = tensors(directory)
    rewrite(directory, state, "my_weights.safetensors")
    rewrite(directory, {name: tensor + 1 for name, tensor in state.items()})
    edit_config(directory, transformers_weights="my_weights.safetensors")


def hub_snapshot(directory: Path) -> None:
    """Files as links into a cache's blobs."""
    blobs = directory.parent / f"{directory.name}_blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(directory.iterdir())):
        path.rename(blobs / str(number))
        path.symlink_to(blobs / str(number))


def unchanged(_: Path) -> None:
    """The directory that save_pretrained writes."""


LAYOUTS: dict[str, Change] = {
    change.__name__: change
    for change in (
        unchanged,
        shard,
        leftover,
        leftover_before,
        sharded_with_leftovers,
        stale_index,
        second_formats,
        adapter_weights,
        checkpoints_below,
        bare_decoder,
        head_only,
        both_tied,
        another_head,
        doubled_prefix,
        in_two_shards,
        flags,
        more_blocks,
        old_buffers,
        named_weights,
        hub_snapshot,
    )
}
UNTIED = {"unchanged", "shard", "leftover", "stale_index", "more_blocks"}
"""Layouts that say nothing of the head, tried on models with a head of their own too."""


def says(**values: Any) -> Change:
    """config.json says these values."""
    return lambda directory: edit_config(directory, **values)


SAYS: dict[str, Change] = {
    "nothing": says(dtype=None, torch_dtype=None),
    "right": unchanged,
    "bfloat16": says(dtype="bfloat16"),
    "float32": says(dtype="float32"),
    "torch_dtype": says(dtype=None, torch_dtype="float16"),
    "both": says(dtype="float16", torch_dtype="bfloat16"),
    "auto": says(dtype="auto"),
    "unknown": says(dtype="fp16"),
}


def make(directory: Path, architecture: str, dtype: str, *, tied: bool = True) -> Path:
    """A random model of two blocks whose weights are of `dtype`; `mixed`: norms and biases in float32 beside bfloat16.

    The values are those of bfloat16 numbers times 1 + 2^-10, so that a rounding to another dtype shows.
    """
    tiny.make_model(directory, architecture, tie_word_embeddings=tied)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 2.0**-10)
    model.to(torch.bfloat16 if dtype == "mixed" else getattr(torch, dtype)).save_pretrained(directory)
    if dtype == "mixed":
        state = tensors(directory)
        rewrite(directory, {name: t.float() if t.dim() == 1 else t for name, t in state.items()})
    return directory
