"""LLaMA and its many descendants with the same module names, such as Mistral, Qwen, Gemma, OLMo and Cohere."""

from prunebench.models.base import Family, FeedForward, Site


class Llama(Family):
    """The LLaMA family: 7 linears per block on 4 sites, and a gated FFN; the places of the norms do not matter."""

    name = "llama"
    model_types = frozenset(
        {
            "cohere",
            "cohere2",
            "cwm",
            "ernie4_5",
            "exaone4",
            "gemma",
            "gemma2",
            "gemma3_text",
            "granite",
            "helium",
            "hunyuan_v1_dense",
            "llama",
            "ministral",
            "ministral3",
            "mistral",
            "olmo",
            "olmo2",
            "olmo3",
            "qwen2",
            "qwen3",
            "seed_oss",
            "smollm3",
            "stablelm",
            "vaultgemma",
        }
    )
    blocks = "model.layers"
    sites = (
        Site("attention_in", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
        Site("attention_out", ("self_attn.o_proj",)),
        Site("ffn_in", ("mlp.gate_proj", "mlp.up_proj")),
        Site("ffn_mid", ("mlp.down_proj",)),
    )
    ffn = FeedForward(gate="mlp.gate_proj", up="mlp.up_proj", down="mlp.down_proj", activation="mlp.act_fn")
