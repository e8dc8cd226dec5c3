"""Nemotron, Arcee and Apertus: LLaMA's names, and an FFN without gate."""

from prunebench.models.base import Family, FeedForward, Site


class Nemotron(Family):
    """The Nemotron family: 6 linears per block on 4 sites."""

    name = "nemotron"
    model_types = frozenset({"nemotron", "arcee", "apertus"})
    blocks = "model.layers"
    sites = (
        Site("attention_in", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
        Site("attention_out", ("self_attn.o_proj",)),
        Site("ffn_in", ("mlp.up_proj",)),
        Site("ffn_mid", ("mlp.down_proj",)),
    )
    ffn = FeedForward(up="mlp.up_proj", down="mlp.down_proj", activation="mlp.act_fn")
