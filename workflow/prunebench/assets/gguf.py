"""Conversion of a GGUF file, on arrival, into a `from_pretrained` directory with plain linear layers."""

import struct
from pathlib import Path
from typing import Literal

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedTokenizerFast

from prunebench.assets.tokens import load_tokenizer
from prunebench.config.values import DType
from prunebench.errors import PrunebenchError
from prunebench.storage.staging import empty_directory, staging


def convert_gguf(gguf: Path, dest: Path, *, dtype: DType, pre_tokenizer: Literal["stored", "digits"]) -> None:
    """Write the config, the safetensors in `dtype` and the tokenizer of the model in the file `gguf` into `dest`.

    `dest` is replaced as a whole at the end, so that a killed conversion leaves no half of a model.
    Raises PrunebenchError if the file cannot be read as GGUF, or if its tokenizer changes when it is saved.
    """
    with staging(dest, "convert") as scratch:
        _convert_weights(gguf, scratch, dtype)
        _convert_tokenizer(gguf, scratch, pre_tokenizer)
        empty_directory(dest)
        scratch.rename(dest)


def _convert_weights(gguf: Path, directory: Path, dtype: DType) -> None:
    # Without dequantize=True the weights may stay packed, and then they can be neither pruned nor saved.
    try:
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=getattr(torch, dtype),
            quantization_config=GgufConfig(dequantize=True),
            local_files_only=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, struct.error) as error:
        raise PrunebenchError(f"cannot read {gguf.name} as a GGUF model: {error}") from error
    model.save_pretrained(directory)


def _convert_tokenizer(gguf: Path, directory: Path, pre_tokenizer: Literal["stored", "digits"]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(
        gguf.parent, gguf_file=gguf.name, local_files_only=True, trust_remote_code=False
    )
    assert isinstance(tokenizer, PreTrainedTokenizerFast)  # transformers rebuilds every GGUF tokenizer as one
    if pre_tokenizer == "digits":
        split_digits(tokenizer)
    tokenizer.save_pretrained(directory)
    # AutoTokenizer chooses a class by the model's family, and some classes replace the pre-tokenizer.
    if load_tokenizer(directory).backend_tokenizer.to_str() != tokenizer.backend_tokenizer.to_str():
        raise PrunebenchError(f"the tokenizer of {gguf.name} changes when it is saved and loaded again")


def split_digits(tokenizer: PreTrainedTokenizerFast) -> None:
    """Make `tokenizer` split digits one by one before byte-level BPE, as llama.cpp does for SmolLM2's GGUF."""
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )
