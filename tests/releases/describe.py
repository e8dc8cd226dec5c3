"""Describes as JSON how a release of transformers reads model directories. Runs in any environment with transformers.

Usage: describe.py describe DIRECTORY..., or describe.py resave FROM TO...: load each FROM and save it as TO.
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

TEXTS = ("abc def", "<s>ab cd<|im_start|>zzz\n\n  caf\u00e9 12", "")
IDS = torch.arange(120) * 7 % 64
"""More tokens than any window or original context of the models here."""
MESSAGES = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "cd"}]


def describe(directory: Path) -> dict[str, Any]:
    """The model and tokenizer that a reader of the directory gets."""
    said: dict[str, Any] = {}
    if (directory / "config.json").exists():
        # Not SDPA: that of transformers 4 leaves out the soft caps of Gemma 2.
        model = AutoModelForCausalLM.from_pretrained(directory, torch_dtype="auto", attn_implementation="eager").eval()
        said["dtype"] = str(model.dtype)
        said["tensors"] = {name: digest(tensor) for name, tensor in model.state_dict().items()}
        said["loss"] = loss(model)
        end = GenerationConfig.from_pretrained(directory) if (directory / "generation_config.json").exists() else None
        said["end"] = end and end.eos_token_id
    if (directory / "tokenizer_config.json").exists():
        tokenizer = AutoTokenizer.from_pretrained(directory)
        said["ids"] = [tokenizer(text)["input_ids"] for text in TEXTS]
        said["text"] = [tokenizer.decode(ids) for ids in said["ids"]]
        said["shown"] = [tokenizer.decode(ids, skip_special_tokens=True) for ids in said["ids"]]
        said["inputs"] = sorted(tokenizer(TEXTS[0]))
        said["special"] = sorted(map(str, tokenizer.all_special_tokens))
        named = ("bos_token", "eos_token", "pad_token", "unk_token")
        said["named"] = [getattr(tokenizer, name) for name in named]
        said["side"], said["longest"] = tokenizer.padding_side, tokenizer.model_max_length
        templates = tokenizer.chat_template
        names = list(templates) if isinstance(templates, dict) else [None] if templates else []
        said["chat"] = {
            str(name): tokenizer.apply_chat_template(MESSAGES, tokenize=False, chat_template=name) for name in names
        }
    return said


def loss(model: Any) -> float:
    """The mean loss on `IDS`, in float32."""
    model.float()
    with torch.no_grad():
        return float(model(IDS[None], labels=IDS[None]).loss)


def digest(tensor: torch.Tensor) -> str:
    """The SHA-256 of a tensor's dtype, shape and bits."""
    head = f"{tensor.dtype}{list(tensor.shape)}".encode()
    return hashlib.sha256(head + bytes(tensor.contiguous().view(torch.uint8).flatten().tolist())).hexdigest()


def resave(source: Path, destination: Path) -> None:
    """Write a directory as this release does."""
    if (source / "config.json").exists():
        AutoModelForCausalLM.from_pretrained(source, torch_dtype="auto").save_pretrained(destination)
    if (source / "tokenizer_config.json").exists():
        AutoTokenizer.from_pretrained(source).save_pretrained(destination)


def main(task: str, *names: str) -> None:
    """Do `task`; what `describe` found is printed on a line of its own."""
    directories = [Path(name) for name in names]
    if task == "describe":
        print("\n" + json.dumps({str(directory): describe(directory) for directory in directories}))
    else:
        for source, destination in zip(directories[::2], directories[1::2], strict=True):
            resave(source, destination)


if __name__ == "__main__":
    main(*sys.argv[1:])
