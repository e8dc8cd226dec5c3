"""Falcon: q, k, v in one matrix, one key-value head with its queries after the other."""

from prunebench.models.base import Family, FeedForward, Fused, Site


class Falcon(Family):
    """6 linears per block on 4 sites, with as many keys and values as `multi_query` and its kin say."""

    name = "falcon"
    model_types = frozenset({"falcon"})
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
    ffn = FeedForward(up="mlp.dense_h_to_4h", down="mlp.dense_4h_to_h", activation="mlp.act")
    fused = (
        Fused(
            "self_attention.query_key_value",
            {"query": "attention", "key": "key_value", "value": "key_value"},
            by_head=True,
        ),
    )
    ffn_factor = 4
