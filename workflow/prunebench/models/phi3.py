"""Phi-3 and Phi-4: GLM-4's block with query, key and value in one matrix."""

from prunebench.models.base import Fused, Site
from prunebench.models.glm import Glm


class Phi3(Glm):
    """The Phi-3 family: 7 linears per block on 4 sites."""

    name = "phi3"
    model_types = frozenset({"phi3"})
    sites = (
        Site("attention_in", ("self_attn.qkv_proj.q_proj", "self_attn.qkv_proj.k_proj", "self_attn.qkv_proj.v_proj")),
        *Glm.sites[1:],
    )
    fused = (
        Fused("self_attn.qkv_proj", {"q_proj": "attention", "k_proj": "key_value", "v_proj": "key_value"}),
        *Glm.fused,
    )
