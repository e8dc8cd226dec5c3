"""Tiny random models, a tokenizer and text, made on the spot: real formats, no download."""

import random
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedTokenizerFast

from prunebench.engine.model import StreamedModel
from prunebench.models.configs import Rows
from prunebench.registry import load
from prunebench.storage.layout import read_layout
from prunebench.storage.parts import fused_parts

VOCABULARY = 160
DEVICE = "cpu"
"""Where models run; tests/gpu changes it."""

# Sizes are coprime enough to tell the axes apart, and divide by 4 and 8 for n:m patterns.
_LLAMA: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
_OPT: dict[str, Any] = {
    "hidden_size": 32,
    "ffn_dim": 48,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "word_embed_proj_dim": 32,
}
_NEOX: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
_FALCON: dict[str, Any] = {
    "hidden_size": 32,
    "ffn_hidden_size": 48,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
_GPT: dict[str, Any] = {"n_embd": 32, "n_inner": 48, "n_head": 4, "n_positions": 64}
_CLIP: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "image_size": 16,
    "patch_size": 8,
}
_MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}}
_QWEN_VISION = {"depth": 2, "hidden_size": 32, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _LLAMA),
    "mistral": ("llama", _LLAMA | {"sliding_window": 8}),
    "qwen2": ("llama", _LLAMA),
    "qwen3": ("llama", _LLAMA | {"head_dim": 16}),
    "gemma2": ("llama", _LLAMA | {"head_dim": 16, "sliding_window": 8, "final_logit_softcapping": 3.0}),
    "gemma3_text": ("llama", _LLAMA | {"head_dim": 16, "sliding_window": 8}),
    "opt": ("opt", _OPT),
    "opt_350m": ("opt", _OPT | {"do_layer_norm_before": False, "word_embed_proj_dim": 16}),
    "phi3": ("phi3", _LLAMA),
    "gpt_neox": ("gpt_neox", _NEOX),
    "falcon": ("falcon", _FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2}),
}
"""name -> (family, config): architectures that differ in what the engine has to mind. Many tests take all of them."""
MORE_ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "bloom": ("bloom", {"hidden_size": 32, "n_head": 4}),
    "falcon-multi_query": ("falcon", _FALCON),
    "falcon-alibi": ("falcon", _FALCON | {"multi_query": False, "alibi": True, "bias": True, "parallel_attn": False}),
    "falcon-one_norm": ("falcon", _FALCON | {"new_decoder_architecture": True, "num_ln_in_parallel_attn": 1}),
    "glm": ("glm", _LLAMA | {"head_dim": 8, "attention_bias": True}),
    "glm4": ("glm", _LLAMA | {"head_dim": 8}),
    "gpt_bigcode": ("gpt_bigcode", _GPT),
    "gpt_bigcode-heads": ("gpt_bigcode", _GPT | {"multi_query": False}),
    "gpt_neo": (
        "gpt_neo",
        {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 4,
            "max_position_embeddings": 64,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 8,
        },
    ),
    "gpt_neox-serial": ("gpt_neox", _NEOX | {"use_parallel_residual": False, "attention_bias": False}),
    "gptj": ("gptj", _GPT | {"rotary_dim": 4}),
    "mpt": ("mpt", {"d_model": 32, "n_heads": 4, "max_seq_len": 64}),
    "phi": ("phi", _LLAMA),
    "phi-qk_norm": ("phi", _LLAMA | {"num_key_value_heads": 4, "qk_layernorm": True}),
    "starcoder2": ("starcoder2", _LLAMA | {"sliding_window": 8}),
    "nemotron": ("nemotron", _LLAMA | {"head_dim": 16}),
    "arcee": ("nemotron", _LLAMA | {"head_dim": 8}),
    "apertus": ("nemotron", _LLAMA),
    "cohere": ("llama", _LLAMA),
    "cohere2": ("llama", _LLAMA | {"head_dim": 8, "sliding_window": 8}),
    "cwm": ("llama", _LLAMA | {"head_dim": 16, "sliding_window": 8}),
    "ernie4_5": ("llama", _LLAMA | {"head_dim": 16, "use_bias": True}),
    "exaone4": ("llama", _LLAMA | {"head_dim": 16, "sliding_window": 8}),
    "gemma": ("llama", _LLAMA | {"head_dim": 16}),
    "granite": ("llama", _LLAMA | {"residual_multiplier": 0.5, "logits_scaling": 2.0, "embedding_multiplier": 3.0}),
    "helium": ("llama", _LLAMA | {"head_dim": 8}),
    "hunyuan_v1_dense": ("llama", _LLAMA | {"head_dim": 16}),
    "ministral": ("llama", _LLAMA | {"head_dim": 16, "sliding_window": 8}),
    "ministral3": ("llama", _LLAMA | {"head_dim": 16}),
    "olmo": ("llama", _LLAMA | {"clip_qkv": 0.5}),
    "olmo2": ("llama", _LLAMA),
    "olmo3": ("llama", _LLAMA | {"sliding_window": 8}),
    "seed_oss": ("llama", _LLAMA | {"head_dim": 16}),
    "smollm3": ("llama", _LLAMA),
    "stablelm": ("llama", _LLAMA | {"use_parallel_residual": True, "qk_layernorm": True, "use_qkv_bias": True}),
    "vaultgemma": ("llama", _LLAMA | {"head_dim": 16, "sliding_window": 8}),
    "llava": ("llava", {"text_config": _LLAMA, "vision_config": _CLIP}),
    "llava-mistral": ("llava", {"text_config": {"model_type": "mistral", **_LLAMA}, "vision_config": _CLIP}),
    "llava_next": (
        "llava",
        {"text_config": _LLAMA, "vision_config": _CLIP, "image_grid_pinpoints": [[16, 16], [16, 32], [32, 16]]},
    ),
    "vipllava": ("llava", {"text_config": _LLAMA, "vision_config": _CLIP, "vision_feature_layers": [-2, -1]}),
    "gemma3": (
        "llava",
        {
            "text_config": _LLAMA | {"head_dim": 16, "sliding_window": 8},
            "vision_config": _CLIP | {"model_type": "siglip_vision_model"},
            "mm_tokens_per_image": 4,
        },
    ),
    "qwen2_vl": ("qwen_vl", {"text_config": _LLAMA | _MROPE, "vision_config": _QWEN_VISION | {"embed_dim": 16}}),
    "qwen2_5_vl": (
        "qwen_vl",
        {
            "text_config": _LLAMA | _MROPE,
            "vision_config": _QWEN_VISION | {"intermediate_size": 24, "out_hidden_size": 32, "window_size": 16},
        },
    ),
}
"""The rest of what the adapters claim to read, which has tests of its own. What follows "-" names a variant."""
EVERY_ARCHITECTURE = ARCHITECTURES | MORE_ARCHITECTURES


def make_model(
    directory: Path,
    name: str = "llama",
    *,
    blocks: int = 2,
    seed: int = 0,
    shard: str = "1GB",
    tokenizer: PreTrainedTokenizerFast | None = None,
    **sizes: Any,
) -> Path:
    """Write a random bf16 model of `blocks` blocks with its tokenizer to `directory`, in files of at most `shard`."""
    _, config = EVERY_ARCHITECTURE[name]
    torch.manual_seed(seed)
    kind = name.removesuffix("_350m").partition("-")[0]
    depth = CONFIG_MAPPING[kind].attribute_map.get("num_hidden_layers", "num_hidden_layers")
    sizes = {depth: blocks, "vocab_size": VOCABULARY, "pad_token_id": 0, **sizes}
    if "text_config" in config:
        beside = {key: sizes.pop(key) for key in [*sizes] if key.startswith("image_")}
        sizes = {**beside, "text_config": {**config["text_config"], **sizes}}
    model = auto_class(name).from_config(AutoConfig.for_model(kind, **{**config, **sizes}))
    # Wider than the usual initialisation, so that pruning changes the loss; biases and norms not at 0 and 1.
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if parameter.dim() == 1 else 0.0, std=0.2)
    model.to(torch.bfloat16).save_pretrained(directory, max_shard_size=shard)
    (tokenizer or make_tokenizer()).save_pretrained(directory)
    return directory


def auto_class(name: str) -> Any:
    """The class of transformers that makes and loads the architecture `name`."""
    return getattr(transformers, load("models", EVERY_ARCHITECTURE[name][0]).auto)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer over the words of `make_text`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        make_text(50), trainers.BpeTrainer(vocab_size=VOCABULARY - 2, special_tokens=["<pad>", "<s>"])
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>")


def make_text(documents: int, seed: int = 0) -> list[str]:
    """Documents of random words, one line each."""
    source = random.Random(seed)
    words = ["".join(source.choices("abcdefgh", k=source.randint(2, 5))) for _ in range(40)]
    return [" ".join(source.choices(words, k=60)) for _ in range(documents)]


def open_model(
    directory: Path, name: str = "llama", dtype: torch.dtype = torch.float32, **options: Any
) -> StreamedModel:
    """The model as the engine sees it."""
    family = load("models", EVERY_ARCHITECTURE[name][0])
    return StreamedModel(directory, family, **{"dtype": dtype, "storage": torch.bfloat16, "device": DEVICE, **options})


def reference(directory: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The model as transformers sees it."""
    auto = getattr(transformers, read_layout(directory).family.auto)
    return auto.from_pretrained(directory, dtype=dtype).to(DEVICE)


def tokens(samples: int, seqlen: int, seed: int = 0) -> torch.Tensor:
    """Random token ids [samples, seqlen]."""
    return torch.randint(2, VOCABULARY, (samples, seqlen), generator=torch.Generator().manual_seed(seed))


def fused_rows(directory: Path) -> dict[str, tuple[str, Rows]]:
    """The fused linear that each part of one belongs to, and the part's rows there; linears by their full names."""
    fused = fused_parts(read_layout(directory))
    return {
        name.removesuffix(".weight"): (stored.removesuffix(".weight"), part.rows)
        for stored, parts in fused.items()
        for name, part in parts.items()
        if part.rows is not None and name.endswith(".weight")
    }
