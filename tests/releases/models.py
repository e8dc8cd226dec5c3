"""Tiny models and tokenizers as transformers 5 writes them: each way in which its files differ from an older one's."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

import tiny

_SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_OPT = {**_SIZES, "ffn_dim": 48, "init_std": 0.3, "word_embed_proj_dim": 32}
_LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_LLAMA3 |= {"original_max_position_embeddings": 32}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
_LONG = {"rope_type": "longrope", "short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [1.0, 2.0, 3.0, 4.0]}
_LINEAR, _DYNAMIC = {"rope_type": "linear", "factor": 4.0}, {"rope_type": "dynamic", "factor": 4.0}
_SLIDING = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
_GEMMA = {"head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16}


def _rope(**parameters: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, **parameters}}


def _local(**full: Any) -> dict[str, Any]:
    """Rotary embeddings by attention type."""
    return {
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 1e6, **full},
            "sliding_attention": {"rope_type": "default", "rope_theta": 5e3},
        }
    }


MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _rope()),
    "llama tied": ("llama", _rope() | {"tie_word_embeddings": True}),
    "llama biases": ("llama", _rope() | {"attention_bias": True, "mlp_bias": True}),
    "llama head size": ("llama", _rope() | {"head_dim": 16}),
    "llama bfloat16": ("llama", _rope() | {"dtype": "bfloat16"}),
    "llama float16": ("llama", _rope() | {"dtype": "float16"}),
    "llama llama3": ("llama", _rope(**_LLAMA3)),
    "llama linear": ("llama", _rope(**_LINEAR)),
    "llama dynamic": ("llama", _rope(**_DYNAMIC) | {"max_position_embeddings": 64}),
    "llama yarn": ("llama", _rope(**_YARN)),
    "mistral": ("mistral", _rope() | {"sliding_window": 8}),
    "mistral without window": ("mistral", _rope() | {"sliding_window": None, "head_dim": 16}),
    "qwen2": ("qwen2", _rope()),
    "qwen2 sliding": ("qwen2", _rope() | _SLIDING),
    "qwen2 yarn": ("qwen2", _rope(**_YARN)),
    "qwen3": ("qwen3", _rope() | {"head_dim": 16}),
    "qwen3 sliding": ("qwen3", _rope() | {"head_dim": 16} | _SLIDING),
    "gemma": ("gemma", _rope() | {"head_dim": 16}),
    "gemma2": ("gemma2", _rope() | _GEMMA),
    "gemma3": ("gemma3_text", _local() | _GEMMA | {"num_hidden_layers": 6}),
    "gemma3 scaled": (
        "gemma3_text",
        _local(rope_type="linear", factor=8.0) | _GEMMA | {"layer_types": ["sliding_attention", "full_attention"]},
    ),
    "opt": ("opt", _OPT),
    "opt projected": ("opt", _OPT | {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "phi3": ("phi3", _rope() | {"sliding_window": 8}),
    "phi3 partial": ("phi3", _rope(partial_rotary_factor=0.5)),
    "phi3 longrope": ("phi3", _rope(**_LONG) | {"original_max_position_embeddings": 16}),
    "gpt_neox": ("gpt_neox", _rope(partial_rotary_factor=0.5)),
    "gpt_neox linear": ("gpt_neox", _rope(partial_rotary_factor=0.5, **_LINEAR)),
    "falcon": ("falcon", _rope() | {"alibi": False}),
    "falcon alibi": ("falcon", {"alibi": True}),
    "falcon new": ("falcon", _rope() | {"alibi": False, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "olmo": ("olmo", _rope()),
    "olmo linear": ("olmo", _rope(**_LINEAR)),
    "olmo2": ("olmo2", _rope()),
    "granite": ("granite", _rope() | {"attention_multiplier": 0.3, "logits_scaling": 2.0}),
    "cohere": ("cohere", _rope()),
    "cohere2": ("cohere2", _rope() | {"sliding_window": 8}),
    "stablelm": ("stablelm", _rope(partial_rotary_factor=0.5)),
}
"""name -> (model type, config): all that the package reads, and what it may read one day."""

CHAT = "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}"
TOKENIZERS = (
    "plain",
    "with specials",
    "with one template",
    "with two templates",
    "LlamaTokenizer",
    "LlamaTokenizer with start",
    "GemmaTokenizer",
    "GemmaTokenizer with start",
    "CohereTokenizer",
    "CodeLlamaTokenizer",
    "Qwen2Tokenizer",
    "GPT2Tokenizer",
    "GPT2Tokenizer with start",
    "GPTNeoXTokenizer",
)
"""The classes that write differing files, with and without a beginning-of-text token in front."""


def write_model(name: str, directory: Path) -> None:
    """A random model, and a generation config that says other than the config where generation ends."""
    kind, options = MODELS[name]
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**_SIZES, **options})
    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, options.get("dtype", "float32")))
    model.generation_config.eos_token_id = [2, 3]
    model.save_pretrained(directory)


def write_tokenizer(name: str, directory: Path) -> None:
    """A tokenizer as the class in its name writes it."""
    kind, _, how = name.partition(" ")
    tokenizer: Any = tiny.make_tokenizer()
    if kind.endswith("Tokenizer"):
        model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
        words = [*model["vocab"], "<unk>", "</s>", "<eos>", "<bos>", "<mask>", "<|endoftext|>", "\u2581"]
        merges = [tuple(pair) for pair in model["merges"]]
        made = getattr(transformers, kind)(vocab={word: i for i, word in enumerate(words)}, merges=merges)
        tokenizer = made
        if how:
            tokenizer.add_bos_token = True
    elif how:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
        tokenizer.eos_token = "<|im_end|>"
        tokenizer.add_tokens(["zzz"])
        tokenizer.model_max_length = 77
        tokenizer.chat_template = {
            "one template": CHAT,
            "two templates": {"default": CHAT, "tool_use": "tools " + CHAT},
        }.get(how.removeprefix("with "))
    tokenizer.save_pretrained(directory)
