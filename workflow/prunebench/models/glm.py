"""GLM-4 (glm and glm4): LLaMA's block with the gate and the up projection in one matrix."""

from typing import ClassVar

from prunebench.models.base import Family, FeedForward, Fused, Site


class Glm(Family):
    """The GLM-4 family: 7 linears per block on 4 sites."""

    name = "glm"
    model_types = frozenset({"glm", "glm4"})
    blocks = "model.layers"
    sites = (
        Site("attention_in", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
        Site("attention_out", ("self_attn.o_proj",)),
        Site("ffn_in", ("mlp.gate_up_proj.gate_proj", "mlp.gate_up_proj.up_proj")),
        Site("ffn_mid", ("mlp.down_proj",)),
    )
    ffn = FeedForward(
        gate="mlp.gate_up_proj.gate_proj",
        up="mlp.gate_up_proj.up_proj",
        down="mlp.down_proj",
        activation="mlp.activation_fn",
    )
    fused: ClassVar[tuple[Fused, ...]] = (Fused("mlp.gate_up_proj", {"gate_proj": "ffn", "up_proj": "ffn"}),)
