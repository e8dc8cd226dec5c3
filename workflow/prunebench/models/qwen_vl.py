"""Qwen2.5-VL: a language model with the names of LLaMA, beside a vision tower that stays as it is."""

from types import MappingProxyType

from prunebench.models.llama import Llama


class QwenVL(Llama):
    """Qwen2-VL and Qwen2.5-VL: 7 linears per block of the language model."""

    name = "qwen_vl"
    model_types = frozenset({"qwen2_vl", "qwen2_5_vl"})
    text_types = frozenset({"qwen2_vl_text", "qwen2_5_vl_text"})
    auto = "AutoModelForImageTextToText"
    blocks = "model.language_model.layers"
    renamed = MappingProxyType(
        {
            "visual": "model.visual",
            "model.visual": "model.visual",
            "model.language_model": "model.language_model",
            "model": "model.language_model",
        }
    )
