"""Stage gradients: measure how steeply the loss of a model depends on each of its weights."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from prunebench.assets.manifest import load_manifest
from prunebench.assets.tokens import read_tokens
from prunebench.engine.gradients import calibration_gradients
from prunebench.engine.model import StreamedModel
from prunebench.identity.canonical import spec_hash
from prunebench.plan.jobs.gradients import GradientsSpec
from prunebench.runtime.provenance import Measurement
from prunebench.storage.files import atomic_path, sha256_file


def gradients(spec: str, *, model: Path, tokens: Path, gradients: Path, measured: Path) -> None:
    """Write `gradients` (safetensors: float32 [out, in] by linear) of the model asset `model` on `tokens`.

    Also writes `measured` (time, memory, host). A gradient that is not finite is written as it is: the cells that use
    it fail, and say so.
    """
    measurement = Measurement()
    settings = GradientsSpec.model_validate_json(spec)
    streamed = StreamedModel.opened(
        load_manifest(model).directory, settings.family, dtype=settings.compute.dtype, storage=settings.storage
    )
    tensors = calibration_gradients(streamed, read_tokens(tokens))
    made_from = {"spec_hash": spec_hash(spec), "tokens": sha256_file(tokens)}
    with atomic_path(gradients) as temporary:
        save_file(tensors, temporary, metadata={**made_from, "digest": _digest(tensors)})
    measurement.write(measured)


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Compute the hex SHA-256 of all names and values, so that later jobs need not read gigabytes to check them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.flatten().numpy().data)
    return digest.hexdigest()
