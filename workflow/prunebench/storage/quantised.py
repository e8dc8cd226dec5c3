"""Weights that are codes of a quantisation, which cannot be pruned: how to see them, and what to do instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prunebench.errors import PrunebenchError

_QUANTISED = ("quantization_config", "compression_config")
"""The keys of config.json that describe a quantisation."""
_BY_CONFIG = {
    "fp8": "FineGrainedFP8Config(dequantize=True)",
    "mxfp4": "Mxfp4Config(dequantize=True)",
    "compressed-tensors": "CompressedTensorsConfig(run_compressed=False)",
}
"""Quantisation schemes that transformers can undo as it loads a model -> the `quantization_config` for that."""
_BY_NAME = {
    "qweight": "GPTQ or AWQ",
    "weight_packed": "compressed-tensors",
    "weight_scale": "compressed-tensors",
    "weight_scale_inv": "FP8 in blocks",
    "absmax": "bitsandbytes",
    "SCB": "bitsandbytes",
    "W_q": "HQQ",
    "_data": "quanto",
    "_weight_qdata": "torchao",
    "codes": "AQLM",
    "gate_up_proj_blocks": "MXFP4",
    "down_proj_blocks": "MXFP4",
}
"""The last parts of names of tensors that only quantised models have -> the scheme."""


def refuse_quantised(model: Path | str, config: dict[str, Any]) -> None:
    """Raise PrunebenchError if `config` says that the weights are codes of a quantisation."""
    parts = (config, config.get("text_config"))
    for entry in (part.get(key) for part in parts if isinstance(part, dict) for key in _QUANTISED):
        if entry is None:
            continue
        scheme = entry.get("quant_method", "an unnamed scheme") if isinstance(entry, dict) else entry
        if isinstance(entry, dict) and (entry.get("load_in_4bit") or entry.get("load_in_8bit")):
            scheme = "bitsandbytes"
        raise quantised(model, str(scheme))


def scheme_of(tensor: str) -> str | None:
    """The scheme whose models have a tensor of this name; None if the name belongs to no quantisation."""
    return _BY_NAME.get(tensor.rpartition(".")[2])


def quantised(model: Path | str, scheme: str) -> PrunebenchError:
    """The error for a model that is quantised by `scheme`; it says how to undo that, if transformers can."""
    option = _BY_CONFIG.get(scheme)
    how = (
        f"load it with from_pretrained(..., quantization_config={option}) and write it with save_pretrained"
        if option
        else "name the original, unquantised model"
    )
    return PrunebenchError(f"{model} is quantised ({scheme}), and codes cannot be pruned: {how}")
