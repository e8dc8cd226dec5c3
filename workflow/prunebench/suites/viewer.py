"""A vision-language model that answers questions about images: transformers' own processor and greedy generation."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoProcessor, LogitsProcessorList
from transformers.utils import GENERATION_CONFIG_NAME

from prunebench.assets.pictures import LETTERS
from prunebench.engine.subject import Subject
from prunebench.errors import CellFailure, PrunebenchError, summary
from prunebench.models.base import Family
from prunebench.storage.files import read_object
from prunebench.storage.layout import read_config

IMAGE = "<image>"
"""LLaVA's token for an image."""
LLAVA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    f"and polite answers to the user's questions. USER: {IMAGE}\n{{}} ASSISTANT:"
)
"""LLaVA-1.5's prompt (its conversation `vicuna_v1`) with the question in place of the braces."""


class Prompter:
    """The processor of images in a model's directory, with what it takes to ask questions about images."""

    def __init__(self, directory: Path, family: type[Family], *, prompt: str, pad: bool) -> None:
        """`prompt` is "llava" for LLaVA-1.5's text, or "template" for the model's own chat template.

        With `pad` an image is put on a square of the processor's mean colour, as LLaVA-1.5 does. Raises PrunebenchError
        if the directory has no processor of images, or none for `prompt`.
        """
        if not family.text_types:
            raise PrunebenchError(
                f"{directory} is a model of family {family.name!r}, which sees no images: take a vision-language model"
            )
        try:
            processors: Any = AutoProcessor  # its methods have no types
            self._processor = processors.from_pretrained(
                directory,
                backend="pil",  # torchvision, if it is installed, resizes images to other numbers
                local_files_only=True,
                trust_remote_code=False,
            )
            self.tokenizer, mean = self._processor.tokenizer, self._processor.image_processor.image_mean
            image_mean = list(map(float, mean if isinstance(mean, list | tuple) else 3 * [mean])) if pad else []
        # A damaged file raises any exception of its parser.
        except Exception as error:
            raise PrunebenchError(
                f"cannot load the processor of images from {directory} ({summary(error)}): are "
                "preprocessor_config.json and processor_config.json those of the model?"
            ) from error
        self.image = str(getattr(self._processor, "image_token", IMAGE))
        """The model's token for an image."""
        if prompt == "llava" and self.image != IMAGE:
            raise PrunebenchError(
                f"{directory} is no LLaVA-1.5: its token for an image is {self.image}, not {IMAGE}. Set "
                "'prompt: template' in the params of suite vqa, and calibrate the model on text"
            )
        if prompt == "template" and not self._processor.chat_template:
            raise PrunebenchError(
                f"{directory} has no chat template: set 'prompt: llava' in the params of suite vqa, or add "
                "chat_template.jinja"
            )
        if hasattr(self._processor, "num_additional_image_tokens"):
            self._complete(directory)
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        if pad and len(image_mean) != len("RGB"):
            raise PrunebenchError(
                f"{directory}: 'image_mean' in preprocessor_config.json or processor_config.json is {mean}, not three "
                "numbers, so images cannot be padded in the mean colour: take the files of the model"
            )
        self._colour = tuple(int(255 * value) for value in image_mean) if pad else None
        self._directory, self._prompt = directory, prompt

    def _complete(self, directory: Path) -> None:
        """Give the processor what its files left to config.json before transformers counted the tokens of an image."""
        config, processor = read_config(directory), self._processor
        if processor.patch_size is None:
            vision = config.get("vision_config")
            processor.patch_size = vision.get("patch_size") if isinstance(vision, dict) else None
        if not isinstance(processor.patch_size, int):
            raise PrunebenchError(
                f"{directory}: neither processor_config.json nor config.json says how large a patch of an image is "
                "('patch_size'): take the files of a later revision"
            )
        if processor.vision_feature_select_strategy is None:
            processor.vision_feature_select_strategy = config.get("vision_feature_select_strategy", "default")
        # "default" drops a vision tower's token for the whole image, so there is one.
        if processor.vision_feature_select_strategy == "default":
            processor.num_additional_image_tokens = processor.num_additional_image_tokens or 1

    def inputs(self, texts: Sequence[str], images: Sequence[bytes], device: torch.device, dtype: torch.dtype) -> Any:
        """The inputs of the model by name for `texts` with one image each, contents of files; `dtype` is of floats.

        Raises PrunebenchError if an image cannot be read, or if the processor cannot prepare it.
        """
        opened = [[self._opened(image)] for image in images]
        with self.fitting():
            inputs = self._processor(images=opened, text=list(texts), padding=True, return_tensors="pt").to(device)
        for name, value in inputs.items():
            if torch.is_floating_point(value):
                inputs[name] = value.to(dtype)
        return inputs

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """Raise PrunebenchError if transformers finds that images, as the processor prepares them, do not fit."""
        try:
            yield
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise PrunebenchError(
                f"{self._directory}: its processor of images does not fit the model ({summary(error)}): are "
                "preprocessor_config.json and processor_config.json those of the model?"
            ) from error

    def text(self, question: str) -> str:
        """The whole prompt for a question, in which the image comes first."""
        question = question.replace(self.image, "").strip()  # each prompt has one image
        if self._prompt == "llava":
            return LLAVA.format(question)
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text: str = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return text

    def _opened(self, content: bytes) -> Image.Image:
        try:
            image = Image.open(io.BytesIO(content)).convert("RGB")
        # A damaged image raises any exception of its decoder.
        except Exception as error:
            raise PrunebenchError(f"an image cannot be read ({summary(error)}): fetch the tasks again") from error
        if self._colour is None or image.width == image.height:
            return image
        side = max(image.size)
        square = Image.new("RGB", (side, side), self._colour)
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        return square


class Viewer:
    """The model of a subject as a whole, with the processor of its directory."""

    def __init__(self, subject: Subject, *, prompt: str, pad: bool, new_tokens: int) -> None:
        """`prompt` and `pad` are those of `Prompter`. An answer has at most `new_tokens` tokens."""
        self._prompter = Prompter(subject.directory, subject.family, prompt=prompt, pad=pad)
        self._subject, self._new_tokens = subject, new_tokens
        self._context = subject.streamed().context
        self._model: Any = subject.whole()
        self._ends = sorted(
            {
                *_token_ids(self._model.generation_config.eos_token_id),
                *_token_ids(_generation_config(subject.directory).get("eos_token_id")),
                *_token_ids(self._prompter.tokenizer.eos_token_id),
            }
        )
        """The tokens that end an answer, wherever the files of the model name them."""

    @torch.no_grad()
    def answers(self, questions: Sequence[str], images: Sequence[bytes]) -> list[str]:
        """The answer to each of `questions` about the image of the same place, which is a file's content.

        Raises CellFailure if a logit is not finite, or if the context has no room for a prompt and its answer, and
        PrunebenchError if an image cannot be read or does not fit the model.
        """
        texts = [self._prompter.text(question) for question in questions]
        inputs = self._prompter.inputs(texts, images, self._model.device, self._model.dtype)
        length = inputs["input_ids"].shape[1]
        if self._context is not None and length + self._new_tokens > self._context:
            raise CellFailure(
                f"a prompt of {length} tokens and an answer of {self._new_tokens} are longer than the model's context "
                f"of {self._context}"
            )
        tokenizer = self._prompter.tokenizer
        with self._prompter.fitting():
            generated = self._model.generate(
                **inputs,
                do_sample=False,
                num_beams=1,
                max_new_tokens=self._new_tokens,
                eos_token_id=self._ends or None,
                pad_token_id=tokenizer.pad_token_id,
                logits_processor=LogitsProcessorList([self._subject.check_logits]),
            )
        given = tokenizer.batch_decode(generated[:, length:], skip_special_tokens=True)
        return [text.strip() for text in given]


def _generation_config(directory: Path) -> dict[str, Any]:
    """The content of the file of that name, which models may lack. Raises PrunebenchError if it is damaged."""
    file = directory / GENERATION_CONFIG_NAME
    return read_object(file) if file.is_file() else {}


def _token_ids(value: Any) -> set[int]:
    """The ids that `eos_token_id` names: one, several, or none. Raises PrunebenchError if it is something else."""
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(number) is int for number in ids):
        raise PrunebenchError(
            f"'eos_token_id' in {GENERATION_CONFIG_NAME} or config.json is {value}, not ids of tokens"
        )
    return set(ids)


def question_of(row: dict[str, Any], *, ocr: bool) -> str:
    """The question of `row` in LLaVA-1.5's words, after which it asks for a short answer.

    A row with `choices` is asked as ScienceQA (context, question, options), any other as VQAv2. With `ocr` the words
    that were read in the image (`ocr_tokens`) follow the question, as in LLaVA's evaluation on TextVQA.
    """
    if "choices" in row:
        options = " ".join(f"({letter}) {choice}" for letter, choice in zip(LETTERS, row["choices"], strict=False))
        text = f"Context: {row.get('hint', '').strip() or 'N/A'}\nQuestion: {row['question']}\nOptions: {options}"
        return f"{text.replace('  ', ' ').strip()}\nAnswer with the option's letter from the given choices directly."
    tokens = f"\nReference OCR token: {', '.join(row.get('ocr_tokens', []))}" if ocr else ""
    return f"{row['question']}{tokens}\nAnswer the question using a single word or phrase."
