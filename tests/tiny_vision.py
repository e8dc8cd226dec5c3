"""A tiny random LLaVA with its tokenizer, image processor and chat template, and small images."""

import random
from pathlib import Path
from typing import Any

from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import CLIPImageProcessorPil, LlavaProcessor, PreTrainedTokenizerFast

import tiny

IMAGE = "<image>"
TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() }}: "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}"
    "{% endif %}{% endfor %} {% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with one token for each byte of ASCII, and one for an image."""
    alphabet = {letter: index + 2 for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet())[:94])}
    vocabulary = {"<pad>": 0, "<s>": 1, **alphabet}
    vocabulary |= {letter: len(vocabulary) + index for index, letter in enumerate("ĠĊ")}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="<s>",
        pad_token="<pad>",
        padding_side="left",
        extra_special_tokens={"image_token": IMAGE},
    )


def make_llava(directory: Path, *, seed: int = 0, **sizes: Any) -> Path:
    """Write a tiny random LLaVA-1.5 in bfloat16 to `directory`, with all that transformers needs to use it."""
    tokenizer = make_tokenizer()
    image = tokenizer.convert_tokens_to_ids(IMAGE)
    sizes = {"max_position_embeddings": 512, **sizes}
    tiny.make_model(directory, "llava", seed=seed, tokenizer=tokenizer, image_token_index=image, **sizes)
    LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(directory)
    return directory


def make_image(width: int, height: int, seed: int = 0) -> Image.Image:
    """An image of random dots."""
    return Image.frombytes("RGB", (width, height), random.Random(seed).randbytes(3 * width * height))
