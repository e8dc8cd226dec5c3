"""Files of transformers 5 are rewritten for transformers 4. tests/releases tries this with real releases."""

from typing import Any

import pytest

from prunebench.standalone.portable import portable_config, portable_tokenizer

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 32}
LONG = {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [2.0], "original_max_position_embeddings": 16}


def older(kind: str, parameters: dict[str, Any] | None) -> dict[str, Any]:
    """The keys that are added for transformers 4 to a config with these rope_parameters."""
    config = {"model_type": kind, "rope_parameters": parameters}
    portable = portable_config(config, "float16")
    assert config.items() <= portable.items()
    assert portable["dtype"] == portable["torch_dtype"] == "float16"
    return {key: value for key, value in portable.items() if key not in (*config, "dtype", "torch_dtype")}


@pytest.mark.parametrize(
    ("kind", "parameters", "expected"),
    [
        ("opt", None, {}),
        ("llama", {}, {}),
        ("llama", {"rope_type": "default", "rope_theta": 1e5}, {"rope_theta": 1e5, "rope_scaling": None}),
        ("llama", {"rope_theta": 5.0, **LLAMA3}, {"rope_theta": 5.0, "rope_scaling": LLAMA3}),
        (
            "stablelm",
            {"rope_type": "default", "rope_theta": 5.0, "partial_rotary_factor": 0.5},
            {"rope_theta": 5.0, "partial_rotary_factor": 0.5, "rope_scaling": None},
        ),
        (
            "gpt_neox",
            {"rope_type": "linear", "factor": 2.0, "rope_theta": 5.0, "partial_rotary_factor": 0.5},
            {
                "rope_theta": 5.0,
                "partial_rotary_factor": 0.5,
                "rotary_emb_base": 5.0,
                "rotary_pct": 0.5,
                "rope_scaling": {"rope_type": "linear", "factor": 2.0},
            },
        ),
        (
            "phi3",
            {"rope_theta": 5.0, "partial_rotary_factor": 1.0, **LONG},
            {
                "rope_theta": 5.0,
                "partial_rotary_factor": 1.0,
                "rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [2.0]},
            },
        ),
        (
            "olmo2",
            {"rope_theta": 5.0, "rope_type": "linear", "factor": 2.0},
            {"rope_theta": 5.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
        ),
        (
            "gemma3_text",
            {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
            {
                "rope_theta": 1e6,
                "rope_scaling": {"rope_type": "linear", "factor": 8.0},
                "rope_local_base_freq": 1e4,
            },
        ),
    ],
)
def test_rotary_embeddings(kind: str, parameters: dict[str, Any] | None, expected: dict[str, Any]) -> None:
    assert older(kind, parameters) == expected


def test_keys_that_are_there_stay() -> None:
    written = {"model_type": "llama", "rope_theta": 7.0, "rope_scaling": {"type": "linear", "factor": 2.0}}
    assert portable_config(written, "float16") == {**written, "dtype": "float16", "torch_dtype": "float16"}
    both = {**written, "rope_parameters": {"rope_type": "default", "rope_theta": 1.0}}
    assert portable_config(both, "float16").items() >= both.items()


def test_the_dtype_is_that_of_the_weights() -> None:
    assert portable_config({"torch_dtype": "float32", "dtype": "float32"}, "bfloat16") == {
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",
    }


def test_a_tokenizer_of_transformers_4_stays_as_it_is() -> None:
    written = {"tokenizer_class": "LlamaTokenizer", "extra_special_tokens": {}, "add_bos_token": True}
    assert portable_tokenizer(written) == written


@pytest.mark.parametrize(
    ("written", "changed"),
    [
        ({"tokenizer_class": "TokenizersBackend"}, {}),
        ({"tokenizer_class": "LlamaTokenizer"}, {"padding_side": "left"}),
        ({"tokenizer_class": "OfNobody"}, {}),
        ({"tokenizer_class": "TokenizersBackend", "padding_side": "left"}, {"padding_side": "left"}),
        ({"extra_special_tokens": ["<a>"]}, {"additional_special_tokens": ["<a>"]}),
        ({"extra_special_tokens": {"a": "<a>"}}, {"extra_special_tokens": {"a": "<a>"}}),
        (
            {"extra_special_tokens": ["<a>"], "model_specific_special_tokens": {"image_token": "<i>"}},
            {
                "additional_special_tokens": ["<a>"],
                "extra_special_tokens": {"image_token": "<i>"},
                "model_specific_special_tokens": {"image_token": "<i>"},
            },
        ),
    ],
)
def test_a_tokenizer_of_transformers_5(written: dict[str, Any], changed: dict[str, Any]) -> None:
    always = {
        "backend": "tokenizers",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "padding_side": "right",
    }
    assert portable_tokenizer({"backend": "tokenizers", **written}) == always | changed
