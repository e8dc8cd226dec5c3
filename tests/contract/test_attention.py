"""Quick attention against softmax(Q K^T) V in float64, and calls that are left to torch."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from prunebench.engine import attention
from prunebench.engine.attention import QUERIES, QuickAttention, causal_attention
from prunebench.engine.loss import IN_CACHE, token_losses


def inputs(batch: int, heads: int, groups: int, tokens: int, width: int = 16, out: int = 16) -> list[Tensor]:
    shapes = [(batch, heads, tokens, width), (batch, groups, tokens, width), (batch, groups, tokens, out)]
    torch.manual_seed(0)
    return [torch.randn(shape).bfloat16() for shape in shapes]


def exact(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """The formula in float64."""
    shared = query.shape[1] // key.shape[1]
    q, k, v = query.double(), key.double().repeat_interleave(shared, 1), value.double().repeat_interleave(shared, 1)
    scores = scale * q @ k.transpose(2, 3)
    return scores.masked_fill(torch.ones(scores.shape[2:]).triu(1) > 0, -torch.inf).softmax(-1) @ v


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The number of tokens of each call that is not left to torch."""
    tokens: list[int] = []

    def counted(query: Tensor, *rest: Any, **options: Any) -> Tensor:
        tokens.append(query.shape[2])
        return causal_attention(query, *rest, **options)

    monkeypatch.setattr(attention, "causal_attention", counted)
    yield tokens


@pytest.mark.parametrize("tokens", [1, 2, QUERIES - 1, QUERIES, QUERIES + 1, 5 * QUERIES + 3])
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize(("scale", "out"), [(None, 16), (0.7, 24)])
def test_it_is_the_formula(tokens: int, groups: int, scale: float | None, out: int) -> None:
    query, key, value = inputs(2, 6, groups, tokens, out=out)
    result = causal_attention(query, key, value, scale=scale)
    expected = exact(query, key, value, scale or 0.25)
    assert result.dtype == torch.bfloat16 and result.shape == (2, 6, tokens, out)
    kernel = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale, enable_gqa=True)
    error, usual = [float((each.double() - expected).norm() / expected.norm()) for each in (result, kernel)]
    assert error <= 1.5 * usual and error < 0.006


def test_scores_far_apart_neither_overflow_nor_mix() -> None:
    query, key, value = inputs(1, 2, 2, 100)
    result = causal_attention(100 * query, 100 * key, value)
    assert result.isfinite().all()
    torch.testing.assert_close(result[:, :, 0], value[:, :, 0])


@pytest.mark.parametrize("scores", [1, 2**14, 2**30])
def test_no_sample_and_no_size_of_a_part_changes_a_bit(scores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = inputs(4, 6, 2, 150)
    together = causal_attention(query, key, value)
    monkeypatch.setattr(attention, "SCORES", scores)
    alone = [causal_attention(*parts) for parts in zip(query.split(1), key.split(1), value.split(1), strict=True)]
    assert torch.equal(causal_attention(query, key, value), together)
    assert torch.equal(torch.cat(alone), together)


def test_a_token_does_not_see_later_ones() -> None:
    query, key, value = inputs(1, 2, 1, 150)
    before = causal_attention(query, key, value)
    key[:, :, 100:], value[:, :, 100:] = torch.nan, torch.nan
    assert torch.equal(causal_attention(query, key, value)[:, :, :64], before[:, :, :64])


def test_it_takes_the_place_of_torchs_kernel_in_a_context(calls: list[int]) -> None:
    query, key, value = inputs(2, 6, 2, 70)
    with QuickAttention():
        result = scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3, enable_gqa=True)
        named = {"query": query, "key": key, "value": value, "is_causal": True, "scale": 0.3, "enable_gqa": True}
        assert torch.equal(scaled_dot_product_attention(**named), result)
    assert calls == [70, 70] and torch.equal(result, causal_attention(query, key, value, scale=0.3))
    scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    assert calls == [70, 70]


@pytest.mark.parametrize(
    "change",
    [
        {"attn_mask": torch.ones(70, 70, dtype=torch.bool).tril(), "is_causal": False},
        {"is_causal": False},
        {"dropout_p": 0.5},
        {"dtype": torch.float32},
        {"dtype": torch.float16},
        {"later": 3},
        {"copies": 3},
        {"tokens": 0},
        {"learned": True},
    ],
    ids=str,
)
def test_other_calls_are_left_to_torch(change: dict[str, Any], calls: list[int]) -> None:
    sizes = (change.get("copies", 2), 4, 4, change.get("tokens", 70))
    tensors = [tensor.to(change.get("dtype", torch.bfloat16)) for tensor in inputs(*sizes)]
    if "copies" in change:  # keys and values of one sample serve all
        tensors[1:] = [tensor[:1] for tensor in tensors[1:]]
    tensors[0] = tensors[0][:, :, change.get("later", 0) :]
    if change.get("learned"):
        tensors[2].requires_grad_()
    options = {"is_causal": True} | {
        name: change[name] for name in ("attn_mask", "is_causal", "dropout_p") if name in change
    }
    torch.manual_seed(1)
    expected = scaled_dot_product_attention(*tensors, **options)
    torch.manual_seed(1)
    with QuickAttention():
        result = scaled_dot_product_attention(*tensors, **options)
    assert not calls and torch.equal(result, expected) and result.requires_grad == bool(change.get("learned"))


@pytest.mark.parametrize("vocabulary", [11, IN_CACHE // 3, IN_CACHE + 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_of_tokens_are_those_in_float64(vocabulary: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    logits, targets = (8 * torch.randn(7, vocabulary)).to(dtype), torch.randint(vocabulary, (7,))
    expected = torch.nn.functional.cross_entropy(logits.double(), targets, reduction="none")
    torch.testing.assert_close(token_losses(logits, targets).double(), expected, rtol=1e-5, atol=1e-5)
