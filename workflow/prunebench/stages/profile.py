"""Stage profile: measure what allocators that look at data need to know about a model."""

from pathlib import Path

from prunebench.assets.manifest import verified
from prunebench.assets.tokens import read_tokens
from prunebench.engine.model import StreamedModel
from prunebench.engine.profile import profile_model
from prunebench.identity.canonical import spec_hash
from prunebench.plan.jobs.profile import ProfileSpec
from prunebench.runtime.provenance import Measurement
from prunebench.storage import checkpoints
from prunebench.storage.files import sha256_file


def profile(spec: str, *, model: Path, tokens: Path, profile: Path, measured: Path) -> None:
    """Write `profile` (safetensors: squared norms by site) of the model asset `model` on the calibration `tokens`.

    Also writes `measured` (time, memory, host).
    """
    measurement = Measurement()
    settings = ProfileSpec.model_validate_json(spec)
    streamed = StreamedModel.opened(
        verified(model, settings.model).directory,
        settings.family,
        dtype=settings.compute.dtype,
        storage=settings.storage,
    )
    norms = profile_model(streamed, read_tokens(tokens, settings.tokens), settings.compute.batch_size)
    checkpoints.save(profile, norms, spec_hash=spec_hash(spec), tokens=sha256_file(tokens))
    measurement.write(measured)
