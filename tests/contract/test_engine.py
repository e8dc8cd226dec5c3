"""The engine: streamed blocks are the model, block views do what methods that see a whole block need."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from prunebench.engine.activations import advance, embed
from prunebench.engine.anatomy import linear_sizes
from prunebench.engine.block import BlockView
from prunebench.engine.contract import BlockResult, Method, PrunedLinear
from prunebench.engine.loop import prune_model
from prunebench.engine.loss import window_losses
from prunebench.engine.model import StreamedModel
from prunebench.engine.stat import Stat
from prunebench.engine.statistics import Statistics
from prunebench.errors import CellFailure, PluginMistake, PrunebenchError
from prunebench.formulas import masks, scores
from prunebench.methods.sparsegpt import SparseGPT
from prunebench.methods.wanda import Wanda
from prunebench.models.llama import Llama
from prunebench.patterns import UNSTRUCTURED, Pattern
from prunebench.storage.finished_blocks import Scratch
from prunebench.storage.tensors import PackedStore, TensorStore

CALIBRATED = Method.uses - {"sparsity"} | {"calibration", "seed"}
"""The `uses` of a method that looks at tokens and need not meet a sparsity."""


def run(directory: Path, method: Method, scratch: Path, name: str = "llama", **options: Any) -> dict[str, torch.Tensor]:
    """Prune half of all weights, and return the changed weights."""
    model = tiny.open_model(directory, name, **options)
    base = TensorStore(directory, torch.bfloat16)
    work = Scratch(scratch, base)
    allocation = dict.fromkeys(linear_sizes(directory, model.family), 0.5)
    prune_model(model, method, allocation, UNSTRUCTURED, tiny.tokens(6, 16), work, batch_size=4)
    work.merge(model.blocks, scratch / "all.safetensors")
    return dict(PackedStore(scratch / "all.safetensors", base))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_streaming_is_bit_identical_to_transformers(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path, name, blocks=3)
    tokens = tiny.tokens(4, 20)
    model = tiny.open_model(directory, name, dtype)
    activations = embed(model, tokens, 4)
    for index in range(model.blocks):
        with model.block(index) as block:
            advance(activations, block, index)
    reference = tiny.reference(directory, dtype)
    with torch.no_grad():
        expected = reference(tokens.to(tiny.DEVICE), use_cache=False).logits
    assert torch.equal(model.logits(tokens, activations.hidden[0]), expected)


def test_losses_are_those_of_transformers(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path)
    windows = tiny.tokens(5, 20)
    losses = window_losses(tiny.open_model(directory), windows, batch_size=2)
    reference = tiny.reference(directory)
    with torch.no_grad():
        expected = [reference(window, labels=window).loss.item() for window in windows.to(tiny.DEVICE).split(1)]
    assert losses == pytest.approx(expected, rel=1e-6)


def test_overrides_replace_weights_and_strangers_are_refused(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path)
    key = "model.layers.1.mlp.down_proj.weight"
    override = {key: torch.zeros_like(TensorStore(directory)[key])}
    windows = tiny.tokens(2, 20)
    reference = tiny.reference(directory)
    reference.model.layers[1].mlp.down_proj.weight.data.zero_()
    with torch.no_grad():
        expected = [reference(window, labels=window).loss.item() for window in windows.to(tiny.DEVICE).split(1)]
    losses = window_losses(tiny.open_model(directory, overrides=override), windows, batch_size=2)
    assert losses == pytest.approx(expected, rel=1e-6)
    with pytest.raises(PrunebenchError, match=r"model\.layers\.1\.mlp\.down_proj"):
        tiny.open_model(directory, overrides={key.removesuffix(".weight"): override[key]})


def test_a_model_of_another_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrunebenchError, match="'opt' model, which family 'llama' does not read"):
        StreamedModel(
            tiny.make_model(tmp_path, "opt"),
            Llama,
            dtype=torch.float32,
            storage=torch.bfloat16,
        )


def test_only_one_block_is_in_memory(tmp_path: Path) -> None:
    model = tiny.open_model(tiny.make_model(tmp_path, blocks=3))

    def real(block: torch.nn.Module) -> bool:
        return all(parameter.device.type != "meta" for parameter in block.parameters())

    seen: list[torch.nn.Module] = []
    for index in range(3):
        with model.block(index) as block:
            assert real(block) and not any(map(real, seen))
        seen.append(block)
    with model.block(1):
        assert list(map(real, seen)) == [False, True, False]
    assert not any(map(real, seen))


def test_statistics_need_nothing_after_the_last_site(tmp_path: Path) -> None:
    model = tiny.open_model(tiny.make_model(tmp_path))
    ran = []
    with model.block(0) as module:
        for linear in (model.family.ffn.up, model.family.ffn.down):
            module.get_submodule(linear).register_forward_hook(lambda *_, linear=linear: ran.append(linear))
        view = BlockView(module, 0, embed(model, tiny.tokens(4, 16), 2), model=model)
        statistics = view.collect([site.name for site in view.sites], {Stat.SITE_NORM})
        assert ran == [model.family.ffn.up] * 2
        assert statistics["ffn_mid"].tokens == 4 * 16
        view.forward(0)
        assert ran[2:] == [model.family.ffn.up, model.family.ffn.down]


class ReconstructingClient(Method):
    """Uses the API as SparseLLM will: streams FFN values, keeps Gram matrices only, refits, prunes by chunk."""

    name, title, uses, needs = "client", "Client", CALIBRATED, frozenset({Stat.HESSIAN})

    def prune_block(
        self, block: BlockView, statistics: Statistics, allocation: Mapping[str, float], pattern: Pattern
    ) -> BlockResult:
        ffn = block.ffn
        points = [f"{ffn.up}.in", f"{ffn.up}.out", f"{ffn.down}.in", f"{ffn.down}.out"]
        points += [f"{ffn.gate}.out"] if ffn.gate else []
        width = block.weight(ffn.down).shape[1]
        gram, tokens = block.weight(ffn.down).new_zeros(width, width, dtype=torch.float64), 0
        cross = gram.new_zeros(width, block.weight(ffn.down).shape[0])
        for chunk in block.stream(points):
            x, z, p, y = (chunk[point].double() for point in points[:4])
            assert len(x) == len(z) == len(p) == len(y)
            # What the stream shows is what the block computes.
            bias = block.bias(ffn.up)
            up = x @ block.weight(ffn.up).double().T + (0 if bias is None else bias.double())
            torch.testing.assert_close(up, z, atol=1e-4, rtol=1e-4)
            hidden = block.activation(chunk[points[4]].double()) * z if ffn.gate else block.activation(z)
            torch.testing.assert_close(hidden, p, atol=1e-4, rtol=1e-4)
            bias = block.bias(ffn.down)
            target = y - (0 if bias is None else bias.double())
            torch.testing.assert_close(p @ block.weight(ffn.down).double().T, target, atol=1e-4, rtol=1e-4)
            gram += p.T @ p
            cross += p.T @ target
            tokens += len(p)
        assert tokens == statistics["ffn_mid"].tokens == 6 * 16
        torch.testing.assert_close(statistics["ffn_mid"].hessian, gram, rtol=1e-4, atol=1e-3)
        refit = torch.linalg.solve(gram + 1e-6 * gram.diag().mean() * torch.eye(width, device=gram.device), cross).T
        torch.testing.assert_close(gram @ refit.T, cross, rtol=1e-3, atol=1e-3 * cross.abs().max().item())
        mask = masks.prune_mask(scores.magnitude(refit), refit, allocation[ffn.down], pattern, scope="row")
        return BlockResult({ffn.down: PrunedLinear(refit.masked_fill(mask, 0))}, {"refit_tokens": tokens})


# Falcon's block adds to the output of its FFN in place.
@pytest.mark.parametrize("name", ["llama", "opt", "phi3", "falcon"])
def test_a_method_can_stream_values_and_refit(name: str, tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model", name)
    weights = run(directory, ReconstructingClient(), tmp_path / "scratch", name)
    assert len(weights) == 2 and all((weight == 0).any() for weight in weights.values())


class LearningClient(Method):
    """Uses the API as BESA will: learns a gate through trial weights against the dense block's output."""

    name, title, uses, dense_stream = "client", "Client", CALIBRATED, True

    def prune_block(
        self, block: BlockView, statistics: Statistics, allocation: Mapping[str, float], pattern: Pattern
    ) -> BlockResult:
        linear = block.ffn.down
        weight = block.weight(linear)
        gate = weight.new_full((len(weight), 1), 0.5).requires_grad_()
        optimiser = torch.optim.SGD([gate], lr=0.5)
        losses = []
        for _ in range(3):
            for batch in block.batches:
                wanted = block.forward(batch, dense=True).detach()
                loss = (block.forward(batch, {linear: weight * gate}, dense=True) - wanted).square().mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                losses.append(loss.item())
        assert losses[-1] < losses[0]
        assert torch.equal(block.weight(linear), weight), "trial weights must not stay"
        return BlockResult({linear: PrunedLinear((weight * gate).detach())})


def test_a_method_can_learn_through_trial_weights(tmp_path: Path) -> None:
    assert len(run(tiny.make_model(tmp_path / "model"), LearningClient(), tmp_path / "scratch")) == 2


class StreamRecorder(Method):
    """Halves every weight, and records the inputs of the pruned and of the dense stream."""

    name, title, uses, dense_stream = "client", "Client", CALIBRATED, True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def prune_block(self, block: BlockView, *_: Any) -> BlockResult:
        point = "self_attn.q_proj.in"
        pruned, dense = (next(iter(block.stream([point], dense=dense)))[point] for dense in (False, True))
        self.seen.append((pruned, dense))
        return BlockResult({"mlp.down_proj": PrunedLinear(block.weight("mlp.down_proj") / 2)})


def test_the_dense_stream_is_the_dense_model(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model", blocks=3)
    method = StreamRecorder()
    run(directory, method, tmp_path / "scratch")
    model = tiny.reference(directory)
    expected: list[torch.Tensor] = []
    for layer in model.model.layers:
        layer.self_attn.q_proj.register_forward_pre_hook(lambda _, args: expected.append(args[0].flatten(0, -2)))
    with torch.no_grad():
        model(tiny.tokens(6, 16)[:4].to(tiny.DEVICE))
    for index, (pruned, dense) in enumerate(method.seen):
        assert torch.equal(dense, expected[index])
        assert torch.equal(pruned, dense) == (index == 0)


class SequentialWanda(Wanda):
    """Wanda in true-sequential order."""

    sequential = True


def test_true_sequential_statistics_see_the_sites_already_pruned(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model", blocks=1)
    together = run(directory, Wanda(), tmp_path / "a")
    one_by_one = run(directory, SequentialWanda(), tmp_path / "b")
    same = {key: torch.equal(together[key], one_by_one[key]) for key in together}
    # The first site's input is the same in both orders; the last one's has gone through everything before it.
    assert same["model.layers.0.self_attn.q_proj.weight"] and not same["model.layers.0.mlp.down_proj.weight"]


class Counting(SparseGPT):
    """SparseGPT that notes which blocks it is given, and on which text."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = list[tuple[int, int]]()

    def prune_block(self, block: BlockView, statistics: Statistics, *rest: Any) -> BlockResult:
        self.seen.append((block.index, statistics["ffn_mid"].tokens))
        return super().prune_block(block, statistics, *rest)


@pytest.mark.parametrize("pattern", [UNSTRUCTURED, Pattern(2, 4)])
@pytest.mark.parametrize("kept", [{0}, {2, 3}, {0, 1, 2, 3}])
def test_a_block_without_a_share_stays_as_it_is(kept: set[int], pattern: Pattern, tmp_path: Path) -> None:
    """An n:m method would prune it, whatever its share; and a block before or after is what it is without it."""
    model = tiny.open_model(tiny.make_model(tmp_path / "model", blocks=4))
    names = {block: [model.family.full_name(block, linear) for linear in model.family.linears()] for block in range(4)}
    shares = {name: 0.0 if block in kept else 0.5 for block in names for name in names[block]}
    base, method = TensorStore(tmp_path / "model", torch.bfloat16), Counting()
    work = Scratch(tmp_path / "scratch", base)
    records = prune_model(model, method, shares, pattern, tiny.tokens(6, 16), work, batch_size=4)
    work.merge(4, tmp_path / "all.safetensors")
    weights = PackedStore(tmp_path / "all.safetensors", base)
    assert set(weights) == {f"{name}.weight" for block in {0, 1, 2, 3} - kept for name in names[block]}
    assert method.seen == [(block, 6 * 16) for block in range(4) if block not in kept]
    for block, record in enumerate(records):
        for name, linear in record["linears"].items():
            assert linear["weights"] == base[f"{name}.weight"].numel()
            assert linear["zeros"] == (0 if block in kept else linear["weights"] / 2)
            assert ("reconstruction_error" in linear) == (block not in kept)


def test_the_blocks_before_it_are_pruned_on_the_same_inputs(tmp_path: Path) -> None:
    """Leaving the second half alone changes nothing in the first."""
    directory = tiny.make_model(tmp_path / "model", blocks=4)
    model = tiny.open_model(directory)
    base = TensorStore(directory, torch.bfloat16)
    shares = dict.fromkeys(linear_sizes(directory, model.family), 0.5)
    shares |= {name: 0.0 for name in shares if ".2." in name or ".3." in name}
    work = Scratch(tmp_path / "half", base)
    prune_model(model, Wanda(), shares, UNSTRUCTURED, tiny.tokens(6, 16), work, batch_size=4)
    work.merge(4, tmp_path / "half.safetensors")
    half, whole = PackedStore(tmp_path / "half.safetensors", base), run(directory, Wanda(), tmp_path / "whole")
    assert len(half) == len(whole) / 2 and all(torch.equal(half[name], whole[name]) for name in half)


def test_a_method_without_orders_is_given_every_block(tmp_path: Path) -> None:
    """An external checkpoint is such a method. Its cell has an allocation of zeros only."""

    class Orderless(Counting):
        uses = frozenset({"calibration", "seed"})

    directory = tiny.make_model(tmp_path / "model")
    method = Orderless()
    allocation = dict.fromkeys(linear_sizes(directory, tiny.open_model(directory).family), 0.0)
    work = Scratch(tmp_path / "scratch", TensorStore(directory, torch.bfloat16))
    prune_model(tiny.open_model(directory), method, allocation, UNSTRUCTURED, tiny.tokens(6, 16), work, batch_size=4)
    assert [index for index, _ in method.seen] == [0, 1]


class Stopping(Wanda):
    """Wanda that is interrupted in one block."""

    def __init__(self, stop: int) -> None:
        super().__init__()
        self.stop, self.pruned = stop, list[int]()

    def prune_block(self, block: BlockView, *rest: Any) -> BlockResult:
        if block.index == self.stop:
            raise KeyboardInterrupt
        self.pruned.append(block.index)
        return super().prune_block(block, *rest)


@pytest.mark.parametrize("stop", [0, 1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_interrupted_run_resumes_at_its_block_with_the_same_bits(
    stop: int, dtype: torch.dtype, tmp_path: Path
) -> None:
    directory = tiny.make_model(tmp_path / "model", blocks=4)
    with pytest.raises(KeyboardInterrupt):
        run(directory, Stopping(stop), tmp_path / "a", dtype=dtype)
    resumed = Stopping(stop=-1)
    run(directory, resumed, tmp_path / "a", dtype=dtype)
    assert resumed.pruned == list(range(stop, 4))
    run(directory, Wanda(), tmp_path / "b", dtype=dtype)
    assert (tmp_path / "a/all.safetensors").read_bytes() == (tmp_path / "b/all.safetensors").read_bytes()


class Broken(Method):
    """Returns whatever it is given."""

    name, title = "client", "Client"

    def __init__(self, result: torch.Tensor) -> None:
        super().__init__()
        self.result = result

    def prune_block(self, *_: Any) -> BlockResult:
        return BlockResult({"mlp.up_proj": PrunedLinear(self.result)})


@pytest.mark.parametrize(
    ("result", "message"),
    [(torch.full((48, 32), float("nan")), "NaN or infinity"), (torch.zeros(3, 3), r"shape \(3, 3\), not \(48, 32\)")],
)
def test_broken_results_fail_the_cell(result: torch.Tensor, message: str, tmp_path: Path) -> None:
    with pytest.raises(CellFailure, match=message):
        run(tiny.make_model(tmp_path / "model"), Broken(result), tmp_path / "scratch")


def test_a_statistic_that_was_not_declared_is_an_error(tmp_path: Path) -> None:
    class Undeclared(Wanda):
        needs = frozenset({Stat.HESSIAN})

    with pytest.raises(PluginMistake, match=r"Stat\.SITE_NORM"):
        run(tiny.make_model(tmp_path / "model"), Undeclared(), tmp_path / "scratch")
