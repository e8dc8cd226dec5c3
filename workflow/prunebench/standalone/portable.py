"""A model directory that transformers 5 wrote, in words that transformers 4 understands too.

Transformers 4 passes over keys that it does not know: such a model loads without a word, and computes something else.
Keys that a directory has already are never changed, so what transformers 4 wrote stays as it is.
"""

from typing import Any

OLDEST = "4.53"
"""The oldest release of transformers whose results for an exported model are those of the newest."""

_NESTED = "full_attention"
"""Where the scaling of a model stands whose attention types have rotary embeddings of their own (Gemma 3)."""
_BARE = frozenset({"olmo", "olmo2", "phi3"})
"""Model types whose transformers 4 takes `type` for `rope_type`, and nothing beside the factors."""
_NEOX = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
"""What GPT-NeoX calls two of the keys in transformers 4."""
_FAST = "PreTrainedTokenizerFast"
"""The class of transformers 4 and 5 that does what tokenizer.json says, and nothing else."""


def portable_config(config: dict[str, Any], dtype: str) -> dict[str, Any]:
    """The config.json of a model whose weights are stored in `dtype`, for transformers 4 and 5."""
    return {**_older_rope(config), **config, "dtype": dtype, "torch_dtype": dtype}


def portable_tokenizer(config: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer_config.json of a tokenizer with a tokenizer.json, for transformers 4 and 5.

    A tokenizer that transformers 5 wrote gets the plain class: transformers 4 does not know `TokenizersBackend`, and
    its classes of other names put a beginning-of-text token in front that tokenizer.json does not ask for.
    """
    if config.get("backend") != "tokenizers":
        return config
    changed = dict(config)
    # Transformers 4 takes a list of them under another name, and under this one a mapping.
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


def _older_rope(config: dict[str, Any]) -> dict[str, Any]:
    """What transformers 4 reads of the rotary embedding, from the `rope_parameters` of transformers 5."""
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
        scaling.pop("original_max_position_embeddings", None)  # stands beside it, in the config itself
    default = main.get("rope_type", "default") == "default"
    older["rope_scaling"] = None if default else scaling
    if local := parameters.get("sliding_attention"):
        older["rope_local_base_freq"] = local["rope_theta"]
    return older


def _class_of(name: object) -> Any:
    import transformers

    return getattr(transformers, name, None) if isinstance(name, str) else None
