"""`python -m benches.gguf DIR FILE`: a dense export as a GGUF file for llama.cpp, and the proof that it is this model.

It converts LLaMA models with a byte-level tokenizer, to 16 bits or to Q8_0, reads the file back with transformers and
compares logits. Zeros stay zeros in both types, and take as many bytes as other weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import gguf
import numpy as np
import torch
import typer
from gguf.quants import quantize
from transformers import AutoModelForCausalLM

from prunebench.storage.tensors import TensorStore

TYPES = {"f16": gguf.GGMLQuantizationType.F16, "q8_0": gguf.GGMLQuantizationType.Q8_0}


def main(
    directory: Path,
    file: Path,
    kind: Annotated[str, typer.Option(help=f"one of {', '.join(TYPES)}")] = "f16",
) -> None:
    """Convert the model in `directory`, check the file, and say how large it is."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    if config["model_type"] != "llama":
        raise typer.BadParameter("this script converts LLaMA models only")
    write(directory, file, config, TYPES[kind])
    tokens = torch.randint(0, config["vocab_size"], (1, 32), generator=torch.Generator().manual_seed(0))
    logits = []
    for source, options in ((directory, {}), (file.parent, {"gguf_file": file.name})):
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **options)
        with torch.no_grad():
            logits.append(model(tokens).logits)
    error = (logits[1] - logits[0]).abs().max() / logits[0].abs().max()
    zeros = (model.get_parameter("model.layers.0.mlp.up_proj.weight") == 0).float().mean()
    weights = sum(path.stat().st_size for path in directory.glob("*.safetensors"))
    print(f"{file}: {file.stat().st_size / 1e6:.0f} MB, of {weights / 1e6:.0f} MB")
    print(f"{zeros:.1%} zeros in the up_proj of block 0 as it was read back")
    print(f"logits differ by at most {error:.2e} of the largest")


def write(directory: Path, file: Path, config: dict[str, Any], kind: gguf.GGMLQuantizationType) -> None:
    """Write header, tokenizer and tensors."""
    writer = gguf.GGUFWriter(file, "llama")
    heads = config["num_attention_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    tokenizer = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    words = {token["content"]: token["id"] for token in tokenizer["added_tokens"]} | tokenizer["model"]["vocab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(sorted(words, key=lambda word: words[word]))
    writer.add_token_merges(
        [" ".join(pair) if isinstance(pair, list) else pair for pair in tokenizer["model"]["merges"]]
    )
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    store = TensorStore(directory)
    for name in store:
        values = store[name].float().numpy()
        for part, count in (("q_proj", heads), ("k_proj", config["num_key_value_heads"])):
            if part in name:
                # llama.cpp keeps the two halves of a rotation side by side.
                values = values.reshape(count, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
        place = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert place is not None, name
        if values.ndim == 1:
            writer.add_tensor(place, values)
        else:
            writer.add_tensor(place, quantize(np.ascontiguousarray(values), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    typer.run(main)
