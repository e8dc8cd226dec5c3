"""Phi-1, Phi-1.5 and Phi-2: attention and FFN are parallel, and all linears have biases."""

from prunebench.models.base import Family, FeedForward, Site


class Phi(Family):
    """The Phi family: 6 linears per block on 4 sites; attention and FFN read the same normed hidden state."""

    name = "phi"
    model_types = frozenset({"phi"})
    blocks = "model.layers"
    sites = (
        Site("attention_in", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
        Site("attention_out", ("self_attn.dense",)),
        Site("ffn_in", ("mlp.fc1",)),
        Site("ffn_mid", ("mlp.fc2",)),
    )
    ffn = FeedForward(up="mlp.fc1", down="mlp.fc2", activation="mlp.activation_fn")
