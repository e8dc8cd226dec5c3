"""What values.json holds: for every method and point the masks (as a digest) and the losses of a tiny model, and
what the other stages make of a tiny text.

Run by hand after an intended change: PYTHONPATH=workflow:tests python tests/golden/values.py
"""

import hashlib
import json
import tempfile
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import torch

import tiny
from contract.test_methods import METHODS, supports
from contract.test_methods import prune as prune_tiny
from jobs import pipeline
from prunebench.engine.loss import window_losses
from prunebench.registry import load

FILE = Path(__file__).with_name("values.json")
POINTS = (("unstructured", 0.5), ("unstructured", 0.7), ("2of4", 0.5))


def methods(known: Mapping[str, Container[str]] | None = None) -> dict[str, Any]:
    """{architecture: {method preset point: {"masks": sha256, "losses": [...]}}}, all in float32.

    With `known`, only its entries of each architecture are computed.
    """
    values: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for architecture in ("llama", "opt"):
            directory = tiny.make_model(Path(folder) / architecture, architecture, seed=1)
            points = {
                f"{name} {preset} {pattern} {sparsity}": (name, preset, pattern, sparsity)
                for name in METHODS
                for preset in load("methods", name).presets
                for pattern, sparsity in (POINTS if "pattern" in load("methods", name).uses else POINTS[:1])
                if supports(name, pattern, sparsity)
            }
            values[architecture] = {
                entry: _values((architecture, directory), *point)
                for entry, point in points.items()
                if known is None or entry in known[architecture]
            }
    return values


def _values(model: tuple[str, Path], name: str, preset: str, pattern: str, sparsity: float) -> dict[str, Any]:
    plugin = load("methods", name)
    with tempfile.TemporaryDirectory() as scratch:
        method = plugin(plugin.configure(preset))
        weights, _ = prune_tiny(model, method, pattern, sparsity, Path(scratch), torch.float32)
        bits = b"".join((weights[key] == 0).numpy().tobytes() for key in sorted(weights))
        streamed = tiny.open_model(model[1], model[0], overrides=weights)
        losses = window_losses(streamed, tiny.tokens(4, 24, seed=5), batch_size=2)
    return {"masks": hashlib.sha256(bits).hexdigest(), "losses": [round(loss, 6) for loss in losses]}


if __name__ == "__main__":
    FILE.write_text(json.dumps({"methods": methods(), "pipeline": pipeline()}, indent=1, sort_keys=True) + "\n")
