"""StarCoder2: LLaMA's attention, an FFN without gate, and biases."""

from prunebench.models.base import Family, FeedForward, Site


class Starcoder2(Family):
    """The StarCoder2 family: 6 linears per block on 4 sites."""

    name = "starcoder2"
    model_types = frozenset({"starcoder2"})
    blocks = "model.layers"
    sites = (
        Site("attention_in", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
        Site("attention_out", ("self_attn.o_proj",)),
        Site("ffn_in", ("mlp.c_fc",)),
        Site("ffn_mid", ("mlp.c_proj",)),
    )
    ffn = FeedForward(up="mlp.c_fc", down="mlp.c_proj", activation="mlp.act")
