"""GPT-J: attention and FFN are parallel."""

from prunebench.models.base import Family, FeedForward, Site


class GptJ(Family):
    """The GPT-J family: 6 linears per block on 4 sites; attention and FFN read the same normed hidden state."""

    name = "gptj"
    model_types = frozenset({"gptj"})
    blocks = "transformer.h"
    sites = (
        Site("attention_in", ("attn.q_proj", "attn.k_proj", "attn.v_proj")),
        Site("attention_out", ("attn.out_proj",)),
        Site("ffn_in", ("mlp.fc_in",)),
        Site("ffn_mid", ("mlp.fc_out",)),
    )
    ffn = FeedForward(up="mlp.fc_in", down="mlp.fc_out", activation="mlp.act")
    ffn_factor = 4
