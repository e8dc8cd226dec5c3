"""GPT-NeoX and Pythia: query, key and value in one matrix, head by head."""

from types import MappingProxyType

from prunebench.models.base import QUERY_KEY_VALUE, Family, FeedForward, Fused, Site


class GptNeoX(Family):
    """The GPT-NeoX family: 6 linears per block on 4 sites; attention and FFN are mostly parallel."""

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
    fused = (Fused("attention.query_key_value", QUERY_KEY_VALUE, by_head=True),)
    renamed = MappingProxyType({"embed_out": "lm_head"})
