"""LLaVA: a language model with the names of LLaMA, beside a vision tower and a projector that stay as they are."""

from types import MappingProxyType

from prunebench.models.llama import Llama


class Llava(Llama):
    """LLaVA-1.5, and models with its names in files and in memory: 7 linears per block of the language model."""

    name = "llava"
    model_types = frozenset({"gemma3", "llava", "llava_next", "vipllava"})
    text_types = Llama.model_types
    text_type = "llama"
    paired = frozenset({"llava", "llava_next", "vipllava"})
    auto = "AutoModelForImageTextToText"
    blocks = "model.language_model.layers"
    renamed = MappingProxyType(
        {
            "language_model.model": "model.language_model",
            "language_model.lm_head": "lm_head",
            "vision_tower.vision_model": "model.vision_tower",
            "vision_tower": "model.vision_tower",
            "model.vision_tower.vision_model": "model.vision_tower",
            "multi_modal_projector": "model.multi_modal_projector",
            "image_newline": "model.image_newline",
        }
    )
