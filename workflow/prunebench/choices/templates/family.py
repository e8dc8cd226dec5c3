"""Template: one line that says which models these are. (This file works as it is: change it step by step.)"""

from prunebench.models.base import Family, FeedForward, Site


class Template(Family):
    """Linears per block and the sites that they read; here those of LLaMA: 7 linears on 4 sites."""

    name = "template"  # the name of the file, and the `family` in the entry of a model
    # The values of `model_type` in config.json that the family reads, as in frozenset({"llama"}). No other family may
    # have one of them, and tests/tiny.py needs a tiny model of each.
    model_types = frozenset()
    blocks = "model.layers"  # the module path of the list of decoder blocks
    # These are module paths within a block, in the order of the forward pass. Print a transformers model to see them.
    sites = (
        Site("attention_in", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
        Site("attention_out", ("self_attn.o_proj",)),
        Site("ffn_in", ("mlp.gate_proj", "mlp.up_proj")),
        Site("ffn_mid", ("mlp.down_proj",)),
    )
    ffn = FeedForward(gate="mlp.gate_proj", up="mlp.up_proj", down="mlp.down_proj", activation="mlp.act_fn")
    # If the files hold several of these linears in one matrix, see phi3.py.
