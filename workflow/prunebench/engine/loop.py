"""The loop over blocks: collect statistics, prune, and go on with the outputs of the pruned block."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prunebench.engine.activations import embed
from prunebench.engine.block import BlockView
from prunebench.engine.contract import BlockResult, Method
from prunebench.engine.finite import check_states
from prunebench.engine.model import StreamedModel
from prunebench.engine.placement.memory import give_back_freed_pages
from prunebench.engine.sparsity import check_block
from prunebench.engine.stat import Stat
from prunebench.errors import CellFailure
from prunebench.formulas.finite import is_finite
from prunebench.patterns import Pattern
from prunebench.runtime.progress import track
from prunebench.storage.finished_blocks import Scratch


def prune_model(
    model: StreamedModel,
    method: Method,
    allocation: Mapping[str, float],
    pattern: Pattern,
    tokens: Tensor | None,
    scratch: Scratch,
    *,
    batch_size: int,
    seed: int = 0,
    gradients: Mapping[str, Tensor] | None = None,
    assets: Mapping[str, Path] | None = None,
) -> list[dict[str, Any]]:
    """Prune every block and return one record per block: {"linears": {full name: {...}}, plus the method's record}.

    The record of a linear counts its zeros (see `engine.sparsity`) and, if statistics were collected, says how far its
    outputs moved. `scratch` holds the pruned weights.

    `tokens` is int64 [samples, seqlen], or None for methods without calibration. `gradients` are the results of rule
    `gradients` by full linear name, for methods that need them. The inputs of a block come from the pruned blocks
    before it, statistics inside the block from its unpruned weights (the order of the published codes). Memory is one
    block plus activations. A block for which the allocation has no zeros does not change and costs no statistics.

    Raises CellFailure if the method does, or if a block misses its sparsity; `scratch` keeps the blocks before it.
    """
    activations = embed(model, tokens, batch_size) if tokens is not None else None
    dense = activations.copy() if activations is not None and method.dense_stream else None
    last = max((index for index in range(model.blocks) if _is_pruned(model, index, method, allocation)), default=-1)
    records = []
    for index in track(range(model.blocks), "block"):
        with model.block(index) as module:
            view = BlockView(
                module,
                index,
                activations,
                dense,
                model=model,
                gradients=gradients,
                assets=assets,
                seed=seed,
                scratch=scratch.directory,
            )
            compute = partial(_prune_block, view, model, method, allocation, pattern)
            weights, record = scratch.get_or(index, compute)
            # A block that was on disk is still unpruned here, and all others have recorded their outputs.
            dense_next = view.dense_outputs() if dense and index < last else []
            view.restore(weights)
            records.append(record)
            if activations is not None and index < last:
                view.advance()
                check_states(activations.hidden, index)
            if dense is not None:
                dense.hidden = dense_next
    return records


def _is_pruned(model: StreamedModel, block: int, method: Method, allocation: Mapping[str, float]) -> bool:
    """Whether the method prunes `block`: its allocation has zeros, or the method does not use an allocation."""
    names = (model.family.full_name(block, linear) for linear in model.family.linears())
    return "allocator" not in method.uses or any(allocation[name] for name in names)


def _prune_block(
    view: BlockView, model: StreamedModel, method: Method, allocation: Mapping[str, float], pattern: Pattern
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Prune one block: return the changed tensors as they will be stored, by full name, and the record."""
    full = view.full_names
    before = {linear: view.weight(linear) for linear in full}
    view.check_weights()
    if method.dense_stream:
        view.record_dense()
    pruned = _is_pruned(model, view.index, method, allocation)
    needs = method.needs - {Stat.GRADIENT}  # no forward pass can collect gradients
    at_once = [site.name for site in view.sites] if pruned and needs and not method.sequential else []
    statistics = view.statistics(needs, at_once)
    if at_once:
        give_back_freed_pages()  # matrices of solvers may take all memory, and no forward pass comes in between
    shares = {linear: allocation[name] for linear, name in full.items()}
    try:
        result = method.prune_block(view, statistics, shares, pattern) if pruned else BlockResult({})
    except CellFailure as failure:
        raise CellFailure(f"block {view.index}: {failure}") from None
    samples = {
        linear: sample
        for site in view.sites
        if (sample := statistics.sample(site.name)) is not None
        for linear in site.linears
    }
    stored, linears = {}, {}
    for linear, name in full.items():
        after = before[linear]
        if linear in result.linears:
            after = _stored(result.linears[linear].weight, f"{name}.weight", model)
            stored[f"{name}.weight"] = after
        already_zero = before[linear] == 0
        linears[name] = _count(already_zero, after)
        if linears[name]["already_zero"] and "sparsity" in method.uses:
            beyond = method.zeros_beyond_target(already_zero, allocation[name], pattern)
            linears[name]["zeros_beyond_target"] = beyond
        linears[name] |= result.linears[linear].record if linear in result.linears else {}
        if linear in samples:
            linears[name]["reconstruction_error"] = reconstruction_error(samples[linear], before[linear], after)
    if "sparsity" in method.uses:
        check_block(view.index, linears, {name: allocation[name] for name in linears}, exact=method.exact)
    for name, tensor in result.tensors.items():
        stored[name] = _stored(tensor, name, model)
    return stored, {"linears": linears, **result.record}


@torch.no_grad()
def reconstruction_error(inputs: Tensor, before: Tensor, after: Tensor) -> float:
    """||X (W - W')^T||^2 / ||X W^T||^2 for inputs X [n, in] and weights W, W' [out, in]; 1 if W' is 0.

    Squares are float32; if they overflow, all is computed again in float64.
    """
    change = before.to(inputs.dtype) - after.to(inputs.device, inputs.dtype)
    missed, whole = (
        (inputs @ weight.T).float().square().sum(dtype=torch.float64) for weight in (change, before.to(inputs.dtype))
    )
    if not (missed.isfinite() and whole.isfinite()) and inputs.dtype != torch.float64:
        return _error_in_double(inputs, before, after)
    return float(missed / whole) if whole else 0.0


def _error_in_double(inputs: Tensor, before: Tensor, after: Tensor) -> float:
    x, old, new = (tensor.to(inputs.device, torch.float64) for tensor in (inputs, before, after))
    missed, whole = ((x @ weight.T).square().sum() for weight in (old - new, old))
    return float(missed / whole) if whole else 0.0


def _stored(tensor: Tensor, name: str, model: StreamedModel) -> Tensor:
    """`tensor` in the dtype of its storage. Raises CellFailure if its shape is wrong or a value is not finite."""
    shape = model.tensors.shape(name)
    if tensor.shape != shape:
        raise CellFailure(f"{name}: the method returned shape {tuple(tensor.shape)}, not {shape}")
    rounded = tensor.detach().to("cpu", model.stored_dtype(name)).contiguous()
    if not is_finite(rounded):
        raise CellFailure(f"{name}: the pruned weights contain NaN or infinity")
    return rounded


def _count(already_zero: Tensor, after: Tensor) -> dict[str, Any]:
    """The record of a linear whose weights were 0 where the mask `already_zero` says so, and which are `after` now."""
    return {
        "weights": after.numel(),
        "inputs": after.shape[1],
        # On the bfloat16 weights themselves, count_nonzero takes four times as long where a part of them is zero.
        "zeros": int((after == 0).count_nonzero()),
        "already_zero": int(already_zero.count_nonzero()),
        "zeros_beyond_target": 0,
    }
