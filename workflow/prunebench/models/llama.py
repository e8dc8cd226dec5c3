"""LLaMA and its many descendants with the same module names: Mistral, Qwen, Gemma (text models)."""

from prunebench.models.base import Family, FeedForward, Site


class Llama(Family):
    """Pre-norm blocks, q/k/v/o attention, gated FFN; 7 linears per block on 4 sites."""

    name = "llama"
    model_types = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"})
    blocks = "model.layers"
    sites = (
        Site("attention_in", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
        Site("attention_out", ("self_attn.o_proj",)),
        Site("ffn_in", ("mlp.gate_proj", "mlp.up_proj")),
        Site("ffn_mid", ("mlp.down_proj",)),
    )
    ffn = FeedForward(gate="mlp.gate_proj", up="mlp.up_proj", down="mlp.down_proj")
