"""Makes config files that transformers 5 wrote readable for transformers 4.

Transformers 4 ignores keys that it does not know: it would load such a model without a warning and compute something
else. Keys that a directory has already are never changed, so files of transformers 4 stay as they are.
"""

from typing import Any

OLDEST = "4.53"
"""The oldest release of transformers that computes the same results for an exported model as the newest release."""

_NESTED = "full_attention"
"""The key of the main scaling in models where each attention type has its own rotary embedding (Gemma 3)."""
_BARE = frozenset({"olmo", "olmo2", "phi3"})
"""Model types for which transformers 4 reads `type` in place of `rope_type`, and no other keys beside the factors."""
_NEOX = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
"""The names of two keys of GPT-NeoX in transformers 4."""
_FAST = "PreTrainedTokenizerFast"
"""The class of transformers 4 and 5 that follows tokenizer.json and adds nothing."""


def portable_config(config: dict[str, Any], dtype: str) -> dict[str, Any]:
    """Return `config` (of config.json) for transformers 4 and 5, for a model whose weights are stored in `dtype`."""
    nested = {"text_config": _older(config["text_config"])} if isinstance(config.get("text_config"), dict) else {}
    return {**_older(config), **nested, "dtype": dtype, "torch_dtype": dtype}


def portable_tokenizer(config: dict[str, Any]) -> dict[str, Any]:
    """Return `config` (of tokenizer_config.json) for transformers 4 and 5, for a tokenizer with a tokenizer.json.

    A tokenizer that transformers 5 wrote gets the plain class. Transformers 4 does not know `TokenizersBackend`, and
    its other classes put a beginning-of-text token in front that tokenizer.json does not ask for.
    """
    if config.get("backend") != "tokenizers":
        return config
    changed = dict(config)
    # Transformers 4 has another name for a list of these tokens, and reads a mapping under this name.
    if isinstance(config.get("extra_special_tokens"), list):
        changed["additional_special_tokens"] = changed.pop("extra_special_tokens")
    if named := config.get("model_specific_special_tokens"):
        changed["extra_special_tokens"] = named
    written_by = _class_of(config.get("tokenizer_class"))
    defaults = {
        "model_input_names": list(getattr(written_by, "model_input_names", ("input_ids", "attention_mask"))),
        "padding_side": getattr(written_by, "padding_side", "right"),
    }
    return {**defaults, **changed, "tokenizer_class": _FAST}


def _older(config: dict[str, Any]) -> dict[str, Any]:
    return {**_older_rope(config), **config}


def _older_rope(config: dict[str, Any]) -> dict[str, Any]:
    """Make the keys that transformers 4 reads for the rotary embedding from the `rope_parameters` of transformers 5."""
    parameters = config.get("rope_parameters") or {}
    main = parameters.get(_NESTED, parameters)
    if not main or "rope_theta" not in main:
        return {}
    older = {key: main[key] for key in ("rope_theta", "partial_rotary_factor") if key in main}
    scaling = {key: value for key, value in main.items() if key not in older}
    if config.get("model_type") == "gpt_neox":
        older |= {_NEOX[key]: value for key, value in older.items()}
    if config.get("model_type") in _BARE:
        scaling = {("type" if key == "rope_type" else key): value for key, value in scaling.items()}
        scaling.pop("original_max_position_embeddings", None)  # the config itself has this key
    default = main.get("rope_type", "default") == "default"
    older["rope_scaling"] = None if default else scaling
    if local := parameters.get("sliding_attention"):
        older["rope_local_base_freq"] = local["rope_theta"]
    return older


def _class_of(name: object) -> Any:
    import transformers

    return getattr(transformers, name, None) if isinstance(name, str) else None
