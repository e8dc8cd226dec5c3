"""Phi-3 and Phi-4: LLaMA's block with q, k, v in one matrix and gate and up in another."""

from prunebench.models.base import Family, FeedForward, Fused, Site


class Phi3(Family):
    """7 linears per block on 4 sites."""

    name = "phi3"
    model_types = frozenset({"phi3"})
    blocks = "model.layers"
    sites = (
        Site("attention_in", ("self_attn.qkv_proj.q_proj", "self_attn.qkv_proj.k_proj", "self_attn.qkv_proj.v_proj")),
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
    fused = (
        Fused("self_attn.qkv_proj", {"q_proj": "attention", "k_proj": "key_value", "v_proj": "key_value"}),
        Fused("mlp.gate_up_proj", {"gate_proj": "ffn", "up_proj": "ffn"}),
    )
