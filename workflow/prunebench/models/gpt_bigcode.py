"""StarCoder and SantaCoder (GPT-BigCode): query, key and value in one matrix, mostly with one key-value head."""

from prunebench.models.base import QUERY_KEY_VALUE, Family, FeedForward, Fused, Site


class GptBigCode(Family):
    """The GPT-BigCode family: 6 linears per block on 4 sites."""

    name = "gpt_bigcode"
    model_types = frozenset({"gpt_bigcode"})
    blocks = "transformer.h"
    sites = (
        Site("attention_in", ("attn.c_attn.query", "attn.c_attn.key", "attn.c_attn.value")),
        Site("attention_out", ("attn.c_proj",)),
        Site("ffn_in", ("mlp.c_fc",)),
        Site("ffn_mid", ("mlp.c_proj",)),
    )
    ffn = FeedForward(up="mlp.c_fc", down="mlp.c_proj", activation="mlp.act")
    fused = (Fused("attn.c_attn", QUERY_KEY_VALUE, by_head=True),)
    ffn_factor = 4
