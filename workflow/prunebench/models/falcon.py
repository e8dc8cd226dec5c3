"""Falcon: BLOOM's linears, with queries that may share keys and values."""

from prunebench.models.base import FeedForward
from prunebench.models.bloom import Bloom


class Falcon(Bloom):
    """The Falcon family: 6 linears per block on 4 sites; `multi_query` gives the number of keys and values."""

    name = "falcon"
    model_types = frozenset({"falcon"})
    ffn = FeedForward(up="mlp.dense_h_to_4h", down="mlp.dense_4h_to_h", activation="mlp.act")
