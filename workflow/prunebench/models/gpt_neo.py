"""GPT-Neo: learned positions; every second block attends to a window."""

from prunebench.models.base import Family, FeedForward, Site


class GptNeo(Family):
    """The GPT-Neo family: 6 linears per block on 4 sites."""

    name = "gpt_neo"
    model_types = frozenset({"gpt_neo"})
    blocks = "transformer.h"
    sites = (
        Site("attention_in", ("attn.attention.q_proj", "attn.attention.k_proj", "attn.attention.v_proj")),
        Site("attention_out", ("attn.attention.out_proj",)),
        Site("ffn_in", ("mlp.c_fc",)),
        Site("ffn_mid", ("mlp.c_proj",)),
    )
    ffn = FeedForward(up="mlp.c_fc", down="mlp.c_proj", activation="mlp.act")
    ffn_factor = 4
