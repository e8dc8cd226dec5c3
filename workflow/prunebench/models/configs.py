"""The architecture of a model according to its config.json: its family and its sizes. This imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from prunebench import registry
from prunebench.errors import PrunebenchError
from prunebench.models.base import Family, Fused

_KEYS = (
    *("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads"),
    *("head_dim", "vocab_size", "max_position_embeddings"),
)
_DEFAULTS: dict[str, tuple[int | None, ...]] = {
    "cohere": (40, 8192, 22528, 64, None, None, 256000, 8192),
    "cohere2": (40, 8192, 22528, 64, None, None, 256000, 8192),
    "cwm": (64, 6144, 21504, 48, 8, 128, 128256, 131072),
    "ernie4_5": (18, 1024, 3072, 16, 2, 128, 103424, 131072),
    "exaone4": (32, 4096, 16384, 32, 32, None, 102400, 2048),
    "gemma": (28, 3072, 24576, 16, 16, 256, 256000, 8192),
    "gemma2": (26, 2304, 9216, 8, 4, 256, 256000, 8192),
    "gemma3_text": (26, 2304, 9216, 8, 4, 256, 262208, 131072),
    "granite": (32, 4096, 11008, 32, None, None, 32000, 2048),
    "helium": (24, 2560, 7040, 20, 20, 128, 48000, 4096),
    "hunyuan_v1_dense": (32, 4096, 11008, 32, None, None, 290943, 2048),
    "llama": (32, 4096, 11008, 32, None, None, 32000, 2048),
    "ministral": (32, 4096, 14336, 32, 8, None, 32000, 131072),
    "ministral3": (34, 4096, 14336, 32, 8, 128, 131072, 262144),
    "mistral": (32, 4096, 14336, 32, 8, None, 32000, 131072),
    "olmo": (32, 4096, 11008, 32, None, None, 50304, 2048),
    "olmo2": (32, 4096, 11008, 32, None, None, 50304, 2048),
    "olmo3": (32, 4096, 11008, 32, None, None, 50304, 2048),
    "qwen2": (32, 4096, 22016, 32, 32, None, 151936, 32768),
    "qwen2_5_vl_text": (80, 8192, 29568, 64, 8, None, 152064, 32768),
    "qwen2_vl_text": (80, 8192, 29568, 64, 8, None, 152064, 32768),
    "qwen3": (32, 4096, 22016, 32, 32, 128, 151936, 32768),
    "seed_oss": (64, 4096, 27648, 80, 8, 128, 155136, 524288),
    "smollm3": (36, 2048, 11008, 16, 4, None, 128256, 32768),
    "stablelm": (32, 2560, 6912, 32, 32, None, 50304, 4096),
    "vaultgemma": (26, 2304, 9216, 8, 4, 256, 256000, 8192),
}
"""The values of transformers for `_KEYS`, by model type. The files of vision-language models leave many of them out."""
DEFAULTS: dict[str, dict[str, Any]] = {
    **{kind: dict(zip(_KEYS, values, strict=True)) for kind, values in _DEFAULTS.items()},
    "falcon": {"multi_query": True},
    "gpt_bigcode": {"multi_query": True},
}
"""The defaults of transformers for keys that config.json leaves out, by model type."""

# Model types have different names for a size; a config.json holds one of them.
_BLOCKS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_HIDDEN = ("n_embed", "hidden_size", "n_embd", "d_model")
_HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads")
_FFN = ("intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner")
_CONTEXT = ("max_position_embeddings", "max_seq_len")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", "num_experts_per_tok")


@dataclass(frozen=True)
class Dimensions:
    """The sizes of a decoder."""

    blocks: int
    hidden: int
    ffn: int
    """The width of the FFN."""
    heads: int
    key_value_heads: int
    head: int
    """The width of a head."""
    vocabulary: int
    context: int | None = None
    """The greatest number of tokens of a sequence; None if the config does not say it."""

    @property
    def attention(self) -> int:
        """The width of all queries, and of the attention's output."""
        return self.heads * self.head

    @property
    def key_value(self) -> int:
        """The width of all keys, and of all values."""
        return self.key_value_heads * self.head


@dataclass(frozen=True)
class Rows:
    """The rows of one part of a fused matrix: rows `start` to `stop` of each of `groups` equal runs of rows."""

    groups: int
    start: int
    stop: int
    run: int
    """The number of rows of a run."""

    @property
    def total(self) -> int:
        """The number of rows of the fused matrix."""
        return self.groups * self.run

    @property
    def count(self) -> int:
        """The number of rows of the part."""
        return self.groups * (self.stop - self.start)


def part_rows(fused: Fused, dimensions: Dimensions) -> dict[str, Rows]:
    """A map from the name of each part of `fused` within a block to its rows."""
    groups = dimensions.key_value_heads if fused.by_head else 1
    ends = [0]
    for size in fused.parts.values():
        ends.append(ends[-1] + getattr(dimensions, size) // groups)
    return {
        linear: Rows(groups, start, stop, ends[-1])
        for linear, start, stop in zip(fused.linears, ends, ends[1:], strict=False)
    }


@cache
def readers() -> Mapping[str, type[Family]]:
    """A map from each known model type to the family that reads it."""
    families = (registry.load("models", name) for name in registry.names("models"))
    return {kind: family for family in families for kind in family.model_types}


def check_family(config: Mapping[str, Any], model: str, family: str) -> None:
    """Raise PrunebenchError if another family than `family` reads a model with this `config`, called `model`."""
    kind = config.get("model_type")
    reader = readers().get(kind) if isinstance(kind, str) else None
    if reader is not None and reader.name != family:
        raise PrunebenchError(
            f"{model} is a {kind!r} model, which family {family!r} does not read, but {reader.name!r} does: "
            f"write 'family: {reader.name}' in its catalog entry"
        )


def has_experts(config: Mapping[str, Any]) -> bool:
    """Whether config.json, or an object in it, describes a mixture of experts."""
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    counts = [part.get(key) for part in parts for key in _EXPERTS]
    return "moe" in str(config.get("model_type")) or any(isinstance(count, int) and count > 1 for count in counts)


def text_of(config: Mapping[str, Any]) -> Any:
    """The `text_config` of config.json, which says its type also where the file leaves it out; {} if there is none."""
    text = config.get("text_config") or {}
    reader = readers().get(str(config.get("model_type")))
    if reader is None or not reader.text_types or not isinstance(text, dict):
        return text
    return {"model_type": reader.text_type.format(config["model_type"]), **text}


def dimensions(config: Mapping[str, Any], where: Path) -> Dimensions:
    """The sizes in the content `config` of the config.json at `where`, or in its `text_config`.

    Raises PrunebenchError, which names the file and the key, if a size is missing or is no whole number above 0.
    """
    text = text_of(config)
    if not isinstance(text, dict):
        raise PrunebenchError(
            f"{where}: text_config is {text!r}, not an object: take the file that belongs to the model"
        )
    kind = str((text or config).get("model_type"))
    # In a nested config transformers leaves out values that are the defaults of its model type.
    sizes = {**config, **DEFAULTS.get(kind, {}), **text} if text else {**DEFAULTS.get(kind, {}), **config}
    reader = readers().get(kind)
    hidden = _size(sizes, where, _HIDDEN)
    heads = _size(sizes, where, _HEADS)
    head = _optional(sizes, where, ("head_dim",)) or hidden // heads
    if not head:
        raise PrunebenchError(f"{where}: a hidden size of {hidden} is less than one number for each of {heads} heads")
    ffn = _optional(sizes, where, _FFN)
    if ffn is None and reader is not None and reader.ffn_factor:
        ffn = reader.ffn_factor * hidden
    return Dimensions(
        blocks=_size(sizes, where, _BLOCKS),
        hidden=hidden,
        ffn=ffn or _size(sizes, where, _FFN),
        heads=heads,
        key_value_heads=_key_value_heads(sizes, where, heads),
        head=head,
        vocabulary=_size(sizes, where, ("vocab_size",)),
        context=next((sizes[key] for key in _CONTEXT if isinstance(sizes.get(key), int) and sizes[key] > 0), None),
    )


def _key_value_heads(sizes: Mapping[str, Any], where: Path, heads: int) -> int:
    if "multi_query" not in sizes:
        return _optional(sizes, where, ("num_key_value_heads",)) or heads
    if sizes.get("new_decoder_architecture"):
        return _optional(sizes, where, ("num_kv_heads",)) or heads
    return 1 if sizes["multi_query"] else heads


def _size(sizes: Mapping[str, Any], where: Path, keys: Sequence[str]) -> int:
    size = _optional(sizes, where, keys)
    if size is None:
        raise PrunebenchError(f"{where} has no {' or '.join(keys)}: this kind of model is not known")
    return size


def _optional(sizes: Mapping[str, Any], where: Path, keys: Sequence[str]) -> int | None:
    """The value of the first of `keys` that `sizes` has; None if all are missing or null."""
    key = next((key for key in keys if sizes.get(key) is not None), None)
    if key is None:
        return None
    size = sizes[key]
    if not isinstance(size, int) or isinstance(size, bool) or size <= 0:
        raise PrunebenchError(
            f"{where}: {key} is {size!r}, not a whole number above 0: take the file that belongs to the model"
        )
    return size
