"""Every architecture that an adapter claims to read: its names, its sizes, its numbers, its parts, its export."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

import prunebench
import tiny
from contract.test_methods import METHODS, prune
from prunebench.assets.manifest import read_shape
from prunebench.engine.activations import advance, embed
from prunebench.engine.anatomy import linear_sizes
from prunebench.engine.block import BlockView
from prunebench.engine.fused import split_fused
from prunebench.engine.model import StreamedModel
from prunebench.engine.skeleton import check_model
from prunebench.errors import CellFailure, PrunebenchError
from prunebench.estimate.sizes import counted_sizes
from prunebench.formulas.rows import join, rows_of
from prunebench.models.configs import Dimensions, dimensions, has_experts, part_rows, readers
from prunebench.registry import load, names
from prunebench.storage.layout import CONFIG, SINGLE, family_of, read_layout
from prunebench.storage.tensors import TensorStore

FUSED = [name for name, (family, _) in tiny.EVERY_ARCHITECTURE.items() if load("models", family).fused]
WINDOWS = tiny.tokens(4, 16, seed=3)


@pytest.fixture(scope="module", params=tiny.EVERY_ARCHITECTURE)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """(architecture, directory) of a tiny random model."""
    return request.param, tiny.make_model(tmp_path_factory.mktemp("model"), request.param)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNEBENCH_CACHE", str(tmp_path / "cache"))


def plain(directory: Path, dtype: torch.dtype = torch.float32) -> tuple[Tensor, float]:
    """(logits, perplexity) on WINDOWS by a plain loop around `from_pretrained`."""
    reference = tiny.reference(directory, dtype)
    with torch.no_grad():
        logits = reference(input_ids=WINDOWS, use_cache=False).logits
    losses = [float(nn.functional.cross_entropy(rows[:-1], ids[1:])) for rows, ids in zip(logits, WINDOWS, strict=True)]
    return logits, math.exp(math.fsum(losses) / len(losses))


def streamed_logits(name: str, directory: Path) -> Tensor:
    streamed = tiny.open_model(directory, name)
    activations = embed(streamed, WINDOWS, 4)
    for index in range(streamed.blocks):
        with streamed.block(index) as block:
            advance(activations, block, index)
    return streamed.logits(WINDOWS, activations.hidden[0])


def test_every_model_type_has_a_tiny_model() -> None:
    tried = {name.removesuffix("_350m").partition("-")[0] for name in tiny.EVERY_ARCHITECTURE}
    assert tried == readers().keys()
    assert {family for family, _ in tiny.EVERY_ARCHITECTURE.values()} == {*names("models")}


@pytest.mark.parametrize("name", names("models"))
def test_families_are_consistent(name: str) -> None:
    family = load("models", name)
    assert [site.name for site in family.sites] == ["attention_in", "attention_out", "ffn_in", "ffn_mid"]
    gate = (family.ffn.gate,) if family.ffn.gate else ()
    assert family.sites[2].linears == (*gate, family.ffn.up) and family.sites[3].linears == (family.ffn.down,)
    parts = [linear for fused in family.fused for linear in fused.linears]
    assert {*parts} <= {*family.linears()} and len({*parts}) == len(parts)
    assert not {fused.matrix for fused in family.fused} & {*family.linears()}


def test_sizes_are_those_of_the_parameters(model: tuple[str, Path]) -> None:
    """The sizes from config.json, which come before the model, from file headers and from transformers agree."""
    name, directory = model
    family = load("models", tiny.EVERY_ARCHITECTURE[name][0])
    shape = read_shape(directory / CONFIG)
    sizes = linear_sizes(directory, family)
    counted = counted_sizes(shape, family)
    assert counted.blocks == shape.blocks == 2
    for block in range(2):
        assert counted.linears == {linear: sizes[family.full_name(block, linear)] for linear in family.linears()}
    reference = tiny.reference(directory)
    assert shape.vocabulary == tiny.VOCABULARY
    for matrix in family.matrices():
        fused = [part.linears for part in family.fused if part.matrix == matrix]
        shapes = [counted.linears[linear] for linear in (fused[0] if fused else [matrix])]
        weight = reference.get_parameter(f"{family.full_name(0, matrix)}.weight")
        assert weight.shape == (sum(out for out, _ in shapes), shapes[0][1])
    assert counted.sites == tuple(counted.linears[site.linears[0]][1] for site in family.sites)


def test_logits_are_those_of_transformers(model: tuple[str, Path]) -> None:
    name, directory = model
    expected, _ = plain(directory)
    logits = streamed_logits(name, directory)
    # A product of some rows of a fused matrix may round otherwise than that of all.
    fused = bool(load("models", tiny.EVERY_ARCHITECTURE[name][0]).fused)
    assert torch.equal(logits, expected) or (fused and torch.allclose(logits, expected, rtol=1e-5, atol=1e-5))
    whole = tiny.open_model(directory, name).whole()
    assert torch.equal(whole(WINDOWS, use_cache=False).logits, logits)


def test_a_pruned_export_is_what_was_measured(model: tuple[str, Path], tmp_path: Path) -> None:
    """Perplexities are those of a plain loop, weights that are kept are bit-equal, and every part has its zeros."""
    name, directory = model
    family = load("models", tiny.EVERY_ARCHITECTURE[name][0])

    def perplexity(where: Path) -> float:
        return prunebench.perplexity(where, WINDOWS, dtype="float32", batch_size=2, threads=1).value

    assert perplexity(directory) == pytest.approx(plain(directory)[1], rel=1e-4)
    pruned = prunebench.prune(directory, out=tmp_path / "out", method="magnitude", pattern="2of4", threads=1)
    assert perplexity(tmp_path / "out") == pytest.approx(plain(tmp_path / "out")[1], rel=1e-4)
    before, after = (load_file(where / SINGLE) for where in (directory, tmp_path / "out"))
    layout = read_layout(directory)
    assert {layout.places[name].stored for name in read_layout(tmp_path / "out").places} == before.keys()
    assert before.keys() == after.keys()
    matrices = {f"{family.full_name(block, matrix)}.weight" for block in range(2) for matrix in family.matrices()}
    for key, place in layout.places.items():
        old, new = before[place.stored], after[place.stored]
        assert new.dtype == old.dtype
        gone = (new == 0) & (old != 0)
        assert torch.equal(new[~gone], old[~gone]) and (key in matrices or not gone.any())
        if key in matrices:
            assert ((new == 0).reshape(len(new), -1, 4).sum(-1) >= 2).all()
    linears = pruned.record["prune"]["achieved_sparsity"]
    assert linears == pytest.approx(0.5, abs=2e-3)


@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
@pytest.mark.parametrize("name", FUSED)
def test_sparsity_holds_for_every_part(name: str, method: str, tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model", name)
    sizes = linear_sizes(directory, load("models", tiny.EVERY_ARCHITECTURE[name][0]))
    dense = TensorStore(directory)
    for pattern, sparsity in (("unstructured", 0.5), ("2of4", 0.5)):
        weights, records = prune((name, directory), load("methods", method)(), pattern, sparsity, tmp_path / pattern)
        counts = {linear: count for record in records for linear, count in record["linears"].items()}
        assert counts.keys() == sizes.keys() and weights.keys() == {f"{linear}.weight" for linear in sizes}
        for linear, (out, width) in sizes.items():
            weight = weights[f"{linear}.weight"]
            zeros = weight == 0
            assert weight.shape == (out, width) and counts[linear]["weights"] == out * width
            if pattern == "2of4":
                assert (zeros.reshape(out, -1, 4).sum(-1) >= 2).all()
            # Random weights may hold a zero or two of their own.
            assert 0 <= int(zeros.sum()) - out * width // 2 <= 2
            if method != "sparsegpt":
                assert torch.equal(weight[~zeros], dense[f"{linear}.weight"][~zeros])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["phi3", "falcon"])
def test_every_method_prunes_models_with_fused_matrices(name: str, method: str, tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model", name)
    sizes = linear_sizes(directory, load("models", tiny.EVERY_ARCHITECTURE[name][0]))
    if (method, name) == ("sparsellm", "falcon"):
        with pytest.raises(CellFailure, match="without gate is that of ReLU"):
            prune((name, directory), load("methods", method)(), "unstructured", 0.5, tmp_path / "work")
        return
    weights, _ = prune((name, directory), load("methods", method)(), "unstructured", 0.5, tmp_path / "work")
    assert method == "dense" or weights.keys() == {f"{linear}.weight" for linear in sizes}
    if method != "dense":
        zeros = sum(int((weight == 0).sum()) for weight in weights.values())
        assert zeros / sum(weight.numel() for weight in weights.values()) == pytest.approx(0.5, abs=5e-3)


def watch_attention(name: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor, Tensor]]:
    """A list to which every call of attention adds its (queries, keys, values), each [batch, heads, seqlen, head]."""
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    if name == "bloom":
        from transformers.models.bloom.modeling_bloom import BloomAttention as Attention

        split = Attention._reshape

        def watched(self: Any, fused: Tensor) -> Any:
            seen.append(split(self, fused))
            return split(self, fused)

        monkeypatch.setattr(Attention, "_reshape", watched)
        return seen
    attend = nn.functional.scaled_dot_product_attention

    def watching(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        seen.append((query, key, value))
        return attend(query, key, value, *args, **kwargs)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", watching)
    return seen


# MPT multiplies in its own code, GLM's attention is not fused.
@pytest.mark.parametrize("name", [name for name in FUSED if name not in ("mpt", "glm", "glm4")])
def test_queries_keys_and_values_are_those_that_transformers_attends_with(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tiny.make_model(tmp_path, name)
    seen = watch_attention(name, monkeypatch)
    reference = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        reference(input_ids=WINDOWS, use_cache=False)
    attended = seen[0]
    streamed = tiny.open_model(directory, name)
    with streamed.block(0) as module:
        view = BlockView(module, 0, embed(streamed, WINDOWS, 4), model=streamed)
        linears = view.sites[0].linears
        (chunk,) = view.stream([f"{linear}.out" for linear in linears])
    sizes = dimensions(json.loads((directory / CONFIG).read_text()), directory)
    for linear, theirs, heads in zip(
        linears, attended, (sizes.heads, sizes.key_value_heads, sizes.key_value_heads), strict=True
    ):
        # Where every key serves several queries, some implementations repeat it. Positions turn all but the first.
        ours = chunk[f"{linear}.out"].reshape(*WINDOWS.shape, heads, sizes.head)[:, 0]
        ours = ours.repeat_interleave(theirs.shape[1] // heads, dim=1)
        torch.testing.assert_close(ours, theirs[:, :, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["phi3", "glm", "glm4"])
def test_gate_and_up_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    """The FFN's middle is act(gate) * up, and not the other way round."""
    streamed = tiny.open_model(tiny.make_model(tmp_path, name), name)
    with streamed.block(0) as module:
        view = BlockView(module, 0, embed(streamed, WINDOWS, 4), model=streamed)
        ffn = view.ffn
        (chunk,) = view.stream([f"{ffn.gate}.out", f"{ffn.up}.out", f"{ffn.down}.in"])
        middle = view.activation(chunk[f"{ffn.gate}.out"]) * chunk[f"{ffn.up}.out"]
    torch.testing.assert_close(middle, chunk[f"{ffn.down}.in"], rtol=1e-5, atol=1e-6)


def test_mpt_has_queries_keys_and_values_one_after_the_other(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path, "mpt")
    weight = AutoModelForCausalLM.from_pretrained(directory).transformer.blocks[0].attn.Wqkv.weight
    store = TensorStore(directory)
    for part, expected in zip(("query", "key", "value"), weight.chunk(3), strict=True):
        assert torch.equal(store[f"transformer.blocks.0.attn.Wqkv.{part}.weight"], expected)


@pytest.mark.parametrize("name", FUSED)
def test_parts_are_joined_to_what_was_stored(name: str, tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path, name)
    stored, store = load_file(directory / SINGLE), TensorStore(directory)
    layout = read_layout(directory)
    parts = tiny.fused_rows(directory)
    assert len(parts) == 2 * sum(len(fused.parts) for fused in layout.family.fused)
    for matrix in {matrix for matrix, _ in parts.values()}:
        rows = {part: run for part, (fused, run) in parts.items() if fused == matrix}
        for kind in ("weight", "bias"):
            if (place := layout.places.get(f"{matrix}.{kind}")) is not None:
                whole = stored[place.stored]
                tensors = [store[f"{part}.{kind}"] for part in rows]
                assert [tensor.shape for tensor in tensors] == [store.shape(f"{part}.{kind}") for part in rows]
                assert torch.equal(join(tensors, next(iter(rows.values())).groups), whole)
                taken = torch.cat([rows_of(torch.arange(len(whole)), run) for run in rows.values()])
                assert sorted(taken.tolist()) == [*range(len(whole))]
                assert f"{matrix}.{kind}" not in store


def test_rows_of_heads_that_share_keys_stand_group_by_group() -> None:
    """Six query heads of two numbers on two key-value heads: three queries, a key, a value, and again."""
    sizes = Dimensions(blocks=1, hidden=12, ffn=4, heads=6, key_value_heads=2, head=2, vocabulary=3)
    (fused,) = load("models", "falcon").fused
    rows = {part.rpartition(".")[2]: rows_of(torch.arange(20), run) for part, run in part_rows(fused, sizes).items()}
    assert rows["query"].tolist() == [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15]
    assert rows["key"].tolist() == [6, 7, 16, 17] and rows["value"].tolist() == [8, 9, 18, 19]


def test_buffers_of_older_files_are_passed_over(tmp_path: Path) -> None:
    """The files of Pythia and GPT-J have such buffers. One buffer has the name that a bias would have."""
    directory = tiny.make_model(tmp_path / "model", "gpt_neox")
    expected = plain(directory)[0]
    state = load_file(directory / SINGLE)
    for block in ("gpt_neox.layers.0.attention", "gpt_neox.layers.1.attention"):
        state[f"{block}.bias"] = torch.ones(1, 1, 64, 64, dtype=torch.uint8).tril()
        state[f"{block}.masked_bias"] = torch.tensor(-1e9)
        state[f"{block}.rotary_emb.inv_freq"] = torch.ones(2)
    save_file(state, directory / SINGLE, {"format": "pt"})
    torch.testing.assert_close(streamed_logits("gpt_neox", directory), expected)
    prunebench.prune(directory, out=tmp_path / "out", method="magnitude", sparsity=0.5, threads=1)
    after = load_file(tmp_path / "out" / SINGLE)
    assert after.keys() == state.keys()
    buffers = [name for name in state if name.endswith(("attention.bias", "masked_bias", "inv_freq"))]
    assert len(buffers) == 6 and all(torch.equal(after[name], state[name]) for name in buffers)


def test_a_fused_matrix_of_another_size_is_one_line(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path, "phi3")
    config = json.loads((directory / CONFIG).read_text())
    (directory / CONFIG).write_text(json.dumps(config | {"num_key_value_heads": 1}))
    with pytest.raises(PrunebenchError, match=r"qkv_proj\.weight has the shape \[64, 32\], but .* asks for 48 rows"):
        TensorStore(directory)


def test_a_config_json_that_leaves_out_what_transformers_takes_by_default(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path, "falcon-multi_query")
    config = json.loads((directory / CONFIG).read_text())
    assert config.pop("multi_query")
    (directory / CONFIG).write_text(json.dumps(config))
    check_model(directory, load("models", "falcon"))


def test_a_variant_that_transformers_makes_otherwise_is_one_line(tmp_path: Path) -> None:
    """GPT-NeoX has no key-value heads of its own: transformers passes over a key that the sizes here follow."""
    directory = tiny.make_model(tmp_path, "gpt_neox")
    config = json.loads((directory / CONFIG).read_text())
    (directory / CONFIG).write_text(json.dumps(config | {"num_key_value_heads": 2}))
    with pytest.raises(PrunebenchError, match=r"query_key_value\.weight has the shape \[96, 32\], .* asks for 64 rows"):
        TensorStore(directory)
    sizes = dimensions(config | {"num_key_value_heads": 2}, directory)
    with pytest.raises(PrunebenchError, match=r"query_key_value with 96 rows, but its parts have 64 together"):
        split_fused(tiny.reference(directory), load("models", "gpt_neox"), sizes, directory)


def test_a_block_that_passes_over_its_linears_is_one_line(tmp_path: Path) -> None:
    """BLOOM's slow and exact way multiplies with slices of the weights."""
    directory = tiny.make_model(tmp_path / "model", "bloom", pretraining_tp=2, slow_but_exact=True)
    with pytest.raises(PrunebenchError, match="do not call the linears of attention_out"):
        prune(("bloom", directory), load("methods", "wanda")(), "unstructured", 0.5, tmp_path / "work")


EXPERTS = [
    *("mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "phimoe", "granitemoe", "deepseek_v3", "gpt_oss", "llama4_text"),
    *("glm4_moe", "ernie4_5_moe", "hunyuan_v1_moe", "minimax", "dbrx", "jamba", "qwen3_5_moe"),
]
"""Model types of transformers that are mixtures of experts."""


@pytest.mark.parametrize("kind", EXPERTS)
def test_a_mixture_of_experts_is_refused_by_name_before_any_work(kind: str, tmp_path: Path) -> None:
    config = CONFIG_MAPPING[kind]().to_dict()
    (tmp_path / CONFIG).write_text(json.dumps(config, default=str))
    with pytest.raises(
        PrunebenchError, match=rf"is a mixture of experts \('{kind}'\), which cannot be pruned"
    ) as error:
        read_layout(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", sorted(readers()))
def test_no_dense_model_is_taken_for_a_mixture(kind: str) -> None:
    config = CONFIG_MAPPING[kind]().to_dict()
    assert not has_experts(config)
    assert family_of(Path("here"), config) is readers()[kind]


def test_gpt2_is_refused_by_name(tmp_path: Path) -> None:
    """GPT-2 stores its weights transposed."""
    (tmp_path / CONFIG).write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(PrunebenchError, match=r"a model of type 'gpt2', which is not known \(known: apertus, "):
        read_layout(tmp_path)


def test_models_without_learned_positions_take_any_length(tmp_path: Path) -> None:
    bloom = tiny.open_model(tiny.make_model(tmp_path / "bloom", "bloom"), "bloom")
    assert bloom.context is None
    bloom.check_length(10**6)
    assert isinstance(bloom, StreamedModel)
    assert tiny.open_model(tiny.make_model(tmp_path / "mpt", "mpt"), "mpt").context == 64
    assert tiny.open_model(tiny.make_model(tmp_path / "gptj", "gptj"), "gptj").context == 64


@pytest.mark.parametrize("name", tiny.MORE_ARCHITECTURES)
def test_one_sample_of_a_batch_gives_what_the_batch_gives(name: str, tmp_path: Path) -> None:
    """There are as many samples as heads and as tokens, so that axes could be mistaken for one another."""
    streamed = tiny.open_model(tiny.make_model(tmp_path, name), name)
    with streamed.block(0) as module, torch.no_grad():
        view = BlockView(module, 0, embed(streamed, tiny.tokens(6, 4), 4), model=streamed)
        whole = torch.cat(view.outputs())
        rows = torch.cat([view.forward(batch, row=row) for batch, row in view.samples])
    assert torch.allclose(rows, whole, rtol=1e-4, atol=1e-5)
