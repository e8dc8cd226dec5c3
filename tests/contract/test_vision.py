"""Vision-language models: the language model is pruned, and everything else stays as the files have it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, LlavaNextImageProcessorPil, LlavaNextProcessor, pipeline

import prunebench
import tiny
import tiny_vision
from prunebench.engine.model import block_output
from prunebench.errors import PrunebenchError
from prunebench.models.configs import DEFAULTS, dimensions, readers
from prunebench.packed.load import load_packed
from prunebench.standalone.export import repack
from prunebench.storage.layout import CONFIG, SINGLE, read_layout
from prunebench.storage.packed import Packing

PROMPT = "USER: <image>\nWhat is shown? ASSISTANT:"
SIZES = ((20, 13), (40, 64), (16, 16))
LANGUAGE = re.compile(r"language_model\.model\.layers\.\d+\..*_proj\.weight")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNEBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vision.make_llava(tmp_path_factory.mktemp("llava"))


def with_images(directory: Path) -> Any:
    """A batch of three prompts with images of different sizes; the last prompt is longer and has two."""
    images = [tiny_vision.make_image(*size, seed) for seed, size in enumerate(SIZES)]
    prompts = [PROMPT, PROMPT, f"USER: <image>\n{PROMPT}"]
    return AutoProcessor.from_pretrained(directory)(
        images=[[images[0]], [images[1]], [images[2], images[0]]], text=prompts, padding=True, return_tensors="pt"
    )


def logits(model: Any, inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(**inputs, use_cache=False).logits
    return result


def prune(directory: Path, out: Path) -> Path:
    prunebench.prune(directory, tiny.tokens(4, 16), out=out, method="wanda", sparsity=0.5, dtype="float32", threads=1)
    return out


def test_with_images_the_whole_model_and_its_export_are_those_of_transformers(llava: Path, tmp_path: Path) -> None:
    inputs = with_images(llava)
    assert inputs["pixel_values"].shape[0] == 4 and (inputs["attention_mask"] == 0).any()
    dense = logits(tiny.reference(llava), inputs)
    assert torch.equal(logits(tiny.open_model(llava, "llava").whole(), inputs), dense)
    out = prune(llava, tmp_path / "out")
    pruned = logits(tiny.reference(out), inputs)
    assert torch.equal(logits(tiny.open_model(out, "llava").whole(), inputs), pruned)
    assert not torch.equal(pruned, dense)
    repack(out, tmp_path / "packed", Packing())
    torch.testing.assert_close(
        logits(load_packed(tmp_path / "packed", torch.float32), inputs), pruned, rtol=1e-4, atol=1e-4
    )
    repack(tmp_path / "packed", tmp_path / "again", None)
    assert (tmp_path / "again" / SINGLE).read_bytes() == (out / SINGLE).read_bytes()


def test_with_images_the_streamed_model_is_that_of_transformers(llava: Path) -> None:
    """Block by block, the logits of a padded batch, and of each image alone, are equal bit for bit."""
    streamed, whole = tiny.open_model(llava, "llava"), tiny.reference(llava)
    processor = AutoProcessor.from_pretrained(llava)
    alone = [
        processor(images=[tiny_vision.make_image(*size, seed)], text=PROMPT, return_tensors="pt")
        for seed, size in enumerate(SIZES)
    ]
    seen = []
    for inputs in (with_images(llava), *alone):
        given = dict(inputs)
        tokens = given.pop("input_ids")
        hidden, calls = streamed.embed(tokens, **given)
        for index, call in enumerate(calls):
            with streamed.block(index) as block, torch.no_grad():
                hidden = block_output(block(hidden, *call.args, **call.kwargs))
        seen.append(streamed.logits(tokens, hidden))
        assert torch.equal(seen[-1], logits(whole, inputs))
    assert not any(torch.equal(seen[1], other) for other in seen[2:])


def test_compare_takes_a_vision_language_model(llava: Path, tmp_path: Path) -> None:
    out = prune(llava, tmp_path / "out")
    rows = prunebench.compare([llava, out], tiny.tokens(3, 16), dtype="float32", threads=1)
    assert [round(row.sparsity, 2) for row in rows] == [0.0, 0.5]
    assert rows[0].ratio is None and rows[1].ratio != 1
    assert rows[1].perplexity != rows[0].perplexity > 1


def test_images_in_parts_of_llava_next(tmp_path: Path) -> None:
    tokenizer = tiny_vision.make_tokenizer()
    image = tokenizer.convert_tokens_to_ids(tiny_vision.IMAGE)
    options = {"tokenizer": tokenizer, "image_token_index": image, "max_position_embeddings": 512}
    tiny.make_model(tmp_path, "llava_next", **options)
    LlavaNextProcessor(
        LlavaNextImageProcessorPil(
            size={"shortest_edge": 16},
            crop_size={"height": 16, "width": 16},
            image_grid_pinpoints=[[16, 16], [16, 32], [32, 16]],
        ),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(tmp_path)
    inputs = with_images(tmp_path)
    expected = logits(tiny.reference(tmp_path), inputs)
    assert torch.equal(logits(tiny.open_model(tmp_path, "llava_next").whole(), inputs), expected)


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl"])
def test_images_of_qwen_vl(name: str, tmp_path: Path) -> None:
    ids = {"image_token_id": 150, "vision_start_token_id": 151, "vision_end_token_id": 152, "video_token_id": 153}
    tiny.make_model(tmp_path, name, **ids)
    grids = torch.tensor([[1, 4, 4], [1, 8, 4]])
    rows = [[3, 151, *[150] * count, 152, 5, *[6] * (4 + 8 - count)] for count in (4, 8)]
    tokens = torch.tensor(rows)
    inputs = {
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
        "mm_token_type_ids": (tokens == ids["image_token_id"]).long(),
        "pixel_values": torch.randn(16 + 32, 3 * 2 * 4 * 4, generator=torch.Generator().manual_seed(0)),
        "image_grid_thw": grids,
    }
    expected = logits(tiny.reference(tmp_path), inputs)
    assert torch.equal(logits(tiny.open_model(tmp_path, name).whole(), inputs), expected)


def test_the_export_is_a_pipeline_and_only_linears_of_the_language_model_change(llava: Path, tmp_path: Path) -> None:
    out = prune(llava, tmp_path / "out")
    for name in ("processor_config.json", "chat_template.jinja", "generation_config.json", "tokenizer.json"):
        assert (out / name).read_bytes() == (llava / name).read_bytes()
    before, after = load_file(llava / SINGLE), load_file(out / SINGLE)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if LANGUAGE.fullmatch(name)} and len(changed) == 14
    ask = pipeline("image-text-to-text", model=str(out))
    image = {"type": "image", "image": tiny_vision.make_image(20, 13)}
    messages = [{"role": "user", "content": [image, {"type": "text", "text": "What is shown?"}]}]
    answer = ask(messages, max_new_tokens=4, do_sample=False)[0]["generated_text"][-1]
    inputs = AutoProcessor.from_pretrained(out)(
        images=[image["image"]], text="USER: <image>\nWhat is shown? ASSISTANT:", return_tensors="pt"
    )
    ids = tiny.reference(out, torch.bfloat16).generate(**inputs, max_new_tokens=4, do_sample=False)
    new = ids[0, inputs["input_ids"].shape[1] :]
    assert answer == {"role": "assistant", "content": ask.tokenizer.decode(new, skip_special_tokens=True)}


@pytest.mark.parametrize(
    "older",
    [
        {"vision_tower.": "vision_tower.vision_model."},
        {
            "language_model.model.": "model.language_model.",
            "language_model.lm_head.": "lm_head.",
            "vision_tower.": "model.vision_tower.",
            "multi_modal_projector.": "model.multi_modal_projector.",
        },
    ],
    ids=["of the hub", "of transformers 4.52"],
)
def test_names_of_other_releases_are_read_and_kept(older: dict[str, str], llava: Path, tmp_path: Path) -> None:
    """The files of llava-hf have the part vision_model, which transformers 5 leaves out."""
    source = tiny_vision.make_llava(tmp_path / "llava")
    tensors = load_file(source / SINGLE)
    for old, new in older.items():
        tensors = {re.sub(f"^{re.escape(old)}", new, name): tensor for name, tensor in tensors.items()}
    save_file(tensors, source / SINGLE, {"format": "pt"})
    inputs = with_images(source)
    assert torch.equal(logits(tiny.open_model(source, "llava").whole(), inputs), logits(tiny.reference(llava), inputs))
    out = prune(source, tmp_path / "out")
    after = load_file(out / SINGLE)
    assert after.keys() == tensors.keys()
    assert all(torch.equal(after[name], tensors[name]) for name in tensors if "vision" in name or "projector" in name)
    assert torch.equal(logits(tiny.open_model(out, "llava").whole(), inputs), logits(tiny.reference(out), inputs))


def test_a_vision_tower_keeps_its_dtype(tmp_path: Path) -> None:
    """Weights of the language model are rounded to the dtype of the cells, and all others are exported bit for bit."""
    source = tiny_vision.make_llava(tmp_path / "llava")
    tensors = {name: tensor.float() + 1e-4 for name, tensor in load_file(source / SINGLE).items()}
    save_file(tensors, source / SINGLE, {"format": "pt"})
    streamed = tiny.open_model(source, "llava", storage=torch.float16)
    assert streamed.stored("lm_head.weight").dtype == torch.float16 == streamed.stored_dtype("lm_head.weight")
    name = "model.vision_tower.post_layernorm.weight"
    assert torch.equal(streamed.stored(name), tensors[name.removeprefix("model.")])
    assert streamed.stored_dtype(name) == torch.float32
    store = streamed.tensors.__class__(source, torch.float16)
    assert torch.equal(store[name], streamed.stored(name)) and store["lm_head.weight"].dtype == torch.float16


@pytest.mark.parametrize(
    "kind", sorted({text for reader in readers().values() for text in reader.text_types}), ids=lambda kind: kind
)
def test_sizes_that_text_config_leaves_out_are_the_defaults_of_transformers(kind: str, tmp_path: Path) -> None:
    from transformers import CONFIG_MAPPING

    config = CONFIG_MAPPING[kind]()
    whole = "gemma3" if kind == "gemma3_text" else kind.removesuffix("_text") if kind.startswith("qwen2_") else "llava"
    whole = whole if whole in readers() and readers()[whole].text_types else "llava"
    sizes = dimensions({"model_type": whole, "hidden_size": 7, "text_config": {"model_type": kind}}, tmp_path)
    heads = config.num_attention_heads
    assert (sizes.blocks, sizes.hidden, sizes.heads) == (config.num_hidden_layers, config.hidden_size, heads)
    assert sizes.ffn == config.intermediate_size and sizes.vocabulary == config.vocab_size
    assert sizes.key_value_heads == (config.num_key_value_heads or heads)
    assert sizes.head == (getattr(config, "head_dim", None) or config.hidden_size // heads)
    assert sizes.context == config.max_position_embeddings
    assert kind in DEFAULTS


def test_the_sizes_of_llava_1_5_are_those_of_vicuna(tmp_path: Path) -> None:
    """The config.json of llava-hf/llava-1.5-7b-hf says no more of its language model than this."""
    text = {"model_type": "llama", "max_position_embeddings": 4096, "vocab_size": 32064, "rms_norm_eps": 1e-05}
    sizes = dimensions({"model_type": "llava", "text_config": text, "vision_config": {"hidden_size": 1024}}, tmp_path)
    assert (sizes.blocks, sizes.hidden, sizes.ffn, sizes.heads, sizes.head) == (32, 4096, 11008, 32, 128)
    assert (sizes.vocabulary, sizes.context, sizes.key_value_heads) == (32064, 4096, 32)


@pytest.mark.parametrize("kind", ["mixtral", "opt", "qwen2_moe", None, 7])
def test_another_language_model_is_one_line(kind: object, llava: Path, tmp_path: Path) -> None:
    config = json.loads((llava / CONFIG).read_text())
    config["text_config"]["model_type"] = kind
    (tmp_path / CONFIG).write_text(json.dumps(config))
    with pytest.raises(PrunebenchError, match=rf"has a language model of type {kind!r}, .* family 'llava'") as error:
        read_layout(tmp_path)
    assert "\n" not in str(error.value)
