"""GPT-NeoX and Pythia: q, k, v in one matrix, head by head."""

from types import MappingProxyType

from prunebench.models.base import Family, FeedForward, Fused, Site


class GptNeoX(Family):
    """6 linears per block on 4 sites; attention and FFN mostly side by side."""

    name = "gpt_neox"
    model_types = frozenset({"gpt_neox"})
    blocks = "gpt_neox.layers"
    sites = (
        Site(
            "attention_in",
            ("attention.query_key_value.query", "attention.query_key_value.key", "attention.query_key_value.value"),
        ),
        Site("attention_out", ("attention.dense",)),
        Site("ffn_in", ("mlp.dense_h_to_4h",)),
        Site("ffn_mid", ("mlp.dense_4h_to_h",)),
    )
    ffn = FeedForward(up="mlp.dense_h_to_4h", down="mlp.dense_4h_to_h", activation="mlp.act")
    fused = (
        Fused(
            "attention.query_key_value", {"query": "attention", "key": "key_value", "value": "key_value"}, by_head=True
        ),
    )
    renamed = MappingProxyType({"embed_out": "lm_head"})
