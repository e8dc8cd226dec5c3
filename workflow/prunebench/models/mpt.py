"""MPT: query, key and value in one matrix, one after the other; positions by ALiBi."""

from prunebench.models.base import QUERY_KEY_VALUE, Family, FeedForward, Fused, Site


class Mpt(Family):
    """The MPT family: 6 linears per block on 4 sites."""

    name = "mpt"
    model_types = frozenset({"mpt"})
    blocks = "transformer.blocks"
    sites = (
        Site("attention_in", ("attn.Wqkv.query", "attn.Wqkv.key", "attn.Wqkv.value")),
        Site("attention_out", ("attn.out_proj",)),
        Site("ffn_in", ("ffn.up_proj",)),
        Site("ffn_mid", ("ffn.down_proj",)),
    )
    ffn = FeedForward(up="ffn.up_proj", down="ffn.down_proj", activation="ffn.act")
    fused = (Fused("attn.Wqkv", QUERY_KEY_VALUE),)
    ffn_factor = 4
