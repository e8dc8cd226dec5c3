"""Stage gradients: measure how steeply the loss of a model depends on each of its weights."""

from pathlib import Path

from prunebench.assets.manifest import verified
from prunebench.assets.tokens import read_tokens
from prunebench.engine.gradients import calibration_gradients
from prunebench.engine.model import StreamedModel
from prunebench.identity.canonical import spec_hash
from prunebench.plan.jobs.gradients import GradientsSpec
from prunebench.runtime.provenance import Measurement
from prunebench.storage import checkpoints
from prunebench.storage.files import sha256_file


def gradients(spec: str, *, model: Path, tokens: Path, gradients: Path, measured: Path) -> None:
    """Write `gradients` (safetensors: float32 [out, in] by linear) of the model asset `model` on `tokens`.

    Also writes `measured` (time, memory, host). A gradient that is not finite is written as it is: the cells that use
    it fail, and say so.
    """
    measurement = Measurement()
    settings = GradientsSpec.model_validate_json(spec)
    streamed = StreamedModel.opened(
        verified(model, settings.model).directory,
        settings.family,
        dtype=settings.compute.dtype,
        storage=settings.storage,
    )
    tensors = calibration_gradients(streamed, read_tokens(tokens, settings.tokens))
    checkpoints.save(gradients, tensors, spec_hash=spec_hash(spec), tokens=sha256_file(tokens))
    measurement.write(measured)
