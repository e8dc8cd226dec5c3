"""BLOOM: query, key and value in one matrix, head by head; positions by ALiBi."""

from prunebench.models.base import QUERY_KEY_VALUE, Family, FeedForward, Fused, Site


class Bloom(Family):
    """The BLOOM family: 6 linears per block on 4 sites."""

    name = "bloom"
    model_types = frozenset({"bloom"})
    blocks = "transformer.h"
    sites = (
        Site(
            "attention_in",
            (
                "self_attention.query_key_value.query",
                "self_attention.query_key_value.key",
                "self_attention.query_key_value.value",
            ),
        ),
        Site("attention_out", ("self_attention.dense",)),
        Site("ffn_in", ("mlp.dense_h_to_4h",)),
        Site("ffn_mid", ("mlp.dense_4h_to_h",)),
    )
    ffn = FeedForward(up="mlp.dense_h_to_4h", down="mlp.dense_4h_to_h", activation="mlp.gelu_impl")
    fused = (Fused("self_attention.query_key_value", QUERY_KEY_VALUE, by_head=True),)
    ffn_factor = 4
