"""OPT: learned positions, biases, and an FFN with ReLU."""

from prunebench.models.base import Family, FeedForward, Site


class Opt(Family):
    """The OPT family: 6 linears per block on 4 sites; fc1 and fc2 are children of the block itself."""

    name = "opt"
    model_types = frozenset({"opt"})
    blocks = "model.decoder.layers"
    sites = (
        Site("attention_in", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
        Site("attention_out", ("self_attn.out_proj",)),
        Site("ffn_in", ("fc1",)),
        Site("ffn_mid", ("fc2",)),
    )
    ffn = FeedForward(up="fc1", down="fc2", activation="activation_fn", relu=True)
