"""The repositories of a hub for tests: tiny models and texts with the names, files and schemas of real ones."""

import gzip
import io
import json
import random
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from pyarrow import parquet
from safetensors.torch import load, load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    PreTrainedTokenizerFast,
)

import tiny
from hub_server import HubServer

VOCABULARY = 400
SIZES: dict[str, Any] = {"vocab_size": VOCABULARY, "max_position_embeddings": 64}
SHAPE = {"blocks": 2, "hidden": 32, "ffn": 48, "attention": 32, "vocabulary": VOCABULARY}

LLAMA: dict[str, dict[str, Any]] = {
    "huggyllama/llama-7b": {"num_key_value_heads": 4, "rms_norm_eps": 1e-6},
    "meta-llama/Llama-2-7b-hf": {"num_key_value_heads": 4, "rms_norm_eps": 1e-5},
    "meta-llama/Meta-Llama-3-8B": {"num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_theta": 500000.0},
    "lmsys/vicuna-7b-v1.5": {"num_key_value_heads": 4, "rms_norm_eps": 1e-5},
}
"""The keys in which the configs of LLaMA 1, 2 and 3, and Vicuna differ."""
GATED = ("meta-llama/Llama-2-7b-hf", "meta-llama/Meta-Llama-3-8B")
PICKLED = ("lmsys/vicuna-7b-v1.5",)
"""Models without safetensors on any branch."""

WIKITEXT = "b08601e04326c79dfdd32d625aee71d232d685c3"
C4 = "1588ec454efa1a09f29cd18ddd04fe05fc8653a2"
"""The commits that the catalog pins."""


@cache
def tokenizer(bos: str = "<s>") -> PreTrainedTokenizerFast:
    """A byte-level BPE that puts its BOS in front of a text, as those of OPT (with </s>) and LLaMA do."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<pad>", bos], initial_alphabet=alphabet)
    bpe.train_from_iterator(["".join(wikitext_rows("train")), *ptb_rows("train"), *c4_rows("train")], trainer)
    bpe.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, 1)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=bos, pad_token="<pad>")


def wikitext_rows(split: str) -> list[str]:
    """Lines as WikiText-2 raw has them: headings, paragraphs that end in a line break, empty lines."""
    rows = []
    for number, text in enumerate(_texts(split, 12, words=60)):
        rows += ["", f" = Title {number} = \n", "", f" {text} @-@ {number} . \n", f" Café and {text[:40]} . \n"]
    return rows


def ptb_rows(split: str) -> list[str]:
    """Sentences as in the Penn Treebank of language models: lower case, <unk> and N, no line breaks."""
    return [f"{text} <unk> N million" for text in _texts(split, 60, words=12)]


def c4_rows(split: str) -> list[str]:
    """Web pages, most of them short."""
    long = _texts(split, 30, words=60)
    return [text if number % 3 == 0 else text[:20] for number, text in enumerate(long)]


def add_texts(hub: HubServer) -> None:
    """Add the data sets WikiText-2, PTB and C4 to the hub."""
    splits = ("train", "validation", "test")
    files = {
        f"wikitext-2-raw-v1/{split}-00000-of-00001.parquet": _parquet("text", wikitext_rows(split)) for split in splits
    }
    hub.add("datasets", "Salesforce/wikitext", files, WIKITEXT)
    files = {f"penn_treebank/{split}/0000.parquet": _parquet("sentence", ptb_rows(split)) for split in splits}
    hub.add("datasets", "ptb-text-only/ptb_text_only", {"ptb_text_only.py": b"raise SystemExit"})
    hub.add("datasets", "ptb-text-only/ptb_text_only", files, "refs/convert/parquet")
    shards = {"en/c4-train.00000-of-01024.json.gz": "train", "en/c4-validation.00000-of-00008.json.gz": "validation"}
    hub.add("datasets", "allenai/c4", {path: _json_lines(c4_rows(split)) for path, split in shards.items()}, C4)


def add_models(hub: HubServer, scratch: Path) -> None:
    """Add OPT (safetensors only in a pull request), LLaMA 1 to 3 (two shards), Vicuna (pickle only) and LLaVA."""
    opt = files_of(tiny.make_model(scratch / "opt", "opt", tokenizer=tokenizer("</s>"), **SIZES))
    hub.add("models", "facebook/opt-125m", opt, "refs/pr/1")
    hub.add("models", "facebook/opt-125m", pickled(opt))
    for number, (name, sizes) in enumerate(LLAMA.items()):
        place = scratch / f"llama{number}"
        files = files_of(tiny.make_model(place, "llama", tokenizer=tokenizer(), shard="40KB", **SIZES, **sizes))
        files["consolidated.00.pth"] = b"of no use"
        hub.add("models", name, pickled(files) if name in PICKLED else files, gated=name in GATED)
    hub.add("models", "llava-hf/llava-1.5-7b-hf", _llava(scratch / "llava"))


def files_of(directory: Path) -> dict[str, bytes]:
    """The files of a model, and what else a repository has."""
    files = {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}
    return {".gitattributes": b"*.bin filter=lfs\n", "README.md": b"# A model\n", **files}


def pickled(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files of the model `files`, with pickled weights in place of safetensors."""
    shards = {path: data for path, data in files.items() if path.endswith(".safetensors")}
    rest = {path: data for path, data in files.items() if "safetensors" not in path}
    where, found = {}, {}
    for path, data in shards.items():
        name = path.replace("model", "pytorch_model").replace(".safetensors", ".bin")
        found[name] = _pickle(data)
        where |= dict.fromkeys(_tensors(data), name)
    if len(shards) > 1:
        found["pytorch_model.bin.index.json"] = json.dumps({"metadata": {}, "weight_map": where}).encode()
    return rest | found


def _tensors(data: bytes) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = load(data)
    return tensors


def _pickle(data: bytes) -> bytes:
    buffer = io.BytesIO()
    torch.save(_tensors(data), buffer)
    return buffer.getvalue()


def _llava(directory: Path) -> dict[str, bytes]:
    text = LlamaConfig(**{**tiny.ARCHITECTURES["llama"][1], **SIZES}, num_hidden_layers=2)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4
    )
    config = LlavaConfig(text_config=text, vision_config=vision, image_token_index=3)
    AutoModelForImageTextToText.from_config(config).to(torch.float16).save_pretrained(directory)
    tokenizer().save_pretrained(directory)
    (directory / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "CLIPImageProcessor"}))
    assert any(name.startswith("language_model.") for name in load_file(directory / "model.safetensors"))
    return files_of(directory)


def _texts(split: str, count: int, *, words: int) -> list[str]:
    """`count` texts of so many words, other ones in each split."""
    source = random.Random(split)
    known = ["".join(source.choices("abcdefghij", k=source.randint(2, 6))) for _ in range(50)]
    return [" ".join(source.choices(known, k=words)) for _ in range(count)]


def _parquet(column: str, rows: Iterable[str]) -> bytes:
    buffer = io.BytesIO()
    # Small row groups: a real file has several.
    parquet.write_table(pa.table({column: list(rows)}), buffer, row_group_size=16)
    return buffer.getvalue()


def _json_lines(rows: Iterable[str]) -> bytes:
    page = {"timestamp": "2019-04-25T12:57:54Z", "url": "https://example.org/"}
    return gzip.compress("".join(json.dumps({"text": row, **page}) + "\n" for row in rows).encode(), mtime=0)
