"""MPT: q, k, v in one matrix, one after the other; positions by ALiBi."""

from prunebench.models.base import Family, FeedForward, Fused, Site


class Mpt(Family):
    """6 linears per block on 4 sites."""

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
    fused = (Fused("attn.Wqkv", {"query": "attention", "key": "key_value", "value": "key_value"}),)
    ffn_factor = 4
