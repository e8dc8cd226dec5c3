"""Measures how fast a pruned model is on this machine, dense and packed, and beside another model."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from prunebench.assets.manifest import read_shape
from prunebench.config.values import Compute
from prunebench.engine.subject import Subject
from prunebench.errors import PrunebenchError
from prunebench.packed.load import load_packed
from prunebench.runtime.progress import about, tell
from prunebench.standalone.measure import Loaded, load
from prunebench.standalone.run import threads
from prunebench.storage.layout import CONFIG, is_packed, read_layout
from prunebench.storage.packed import packing_of
from prunebench.suites.base import Score
from prunebench.suites.speed import DENSE, PACKED, ZEROS, Form, SpeedParams, by_kernel, timed, write_packed


def protocol(
    prompt: int, tokens: int, batches: Sequence[int], repeats: int, bits: int | None, group: int | None
) -> SpeedParams:
    """Return the protocol of a measurement; each batch counts once. Raises PrunebenchError for bits that cannot be."""
    packing_of(True, bits, group)
    fields = {"prompt": prompt, "tokens": tokens, "batches": list(dict.fromkeys(batches)), "repeats": repeats}
    return SpeedParams.model_validate({**fields, "bits": bits, "group": group})


def speed_of(model: str, against: str | None, params: SpeedParams, compute: Compute) -> list[Score]:
    """Measure the forms of `model`, a directory or a name, in turn: by PyTorch with zeros in place, and packed.

    With `against`, that dense model takes turns with them. Our dense kernel runs the first model of all. A model that
    is not packed is packed in a temporary directory. Raises PrunebenchError if a model cannot be loaded, if `against`
    is packed, or if a model's context is shorter than the prompt and the tokens after it.
    """
    with threads(compute.threads), tempfile.TemporaryDirectory(prefix="prunebench-") as folder:
        pruned = _loaded(model, params, compute)
        forms: dict[str, Form] = {}
        if against is not None:
            dense = _loaded(against, params, compute)
            if is_packed(dense.manifest.directory):
                raise PrunebenchError(f"--against {against}: this model is packed; name a dense one")
            forms[DENSE] = Form(dense.subject.whole(), dense.manifest.directory)
        directory = pruned.manifest.directory
        packed = is_packed(directory)
        if packed and params.bits:
            raise PrunebenchError(f"--bits: {model} is packed already, and is measured as it is; leave it out")
        # A block of a packed model is expanded where it is read as a dense one.
        forms[ZEROS] = Form(Subject.whole(pruned.subject), None if packed else directory)
        forms |= by_kernel(next(iter(forms.values())).model, pruned.subject.family, pruned.subject.dtype)
        if not packed:
            write_packed(pruned.subject, directory := Path(folder), params.packing)
        forms[PACKED] = Form(load_packed(directory, pruned.subject.dtype), directory)
        sizes = {name: form.directory for name, form in forms.items() if form.directory}
        disk = [Score(name, "disk", _stored(place) / 1e6, None, 1) for name, place in sizes.items()]
        title = pruned.manifest.title
        tell(f"{title}: {passes(params, len(forms))}")
        with about(title):
            return [*disk, *timed(forms, params, pruned.subject.dtype)]


def passes(params: SpeedParams, forms: int) -> str:
    """Say what happens in the passes that progress counts."""
    each = "" if len(params.batches) == 1 else f" at each batch size ({', '.join(map(str, params.batches))})"
    return (
        f"{params.repeats + 1} passes{each}. In a pass {forms} forms of the model take turns to read a prompt of "
        f"{params.prompt} tokens and to write up to {params.tokens}. The first pass warms up and is not counted."
    )


def _loaded(model: str, params: SpeedParams, compute: Compute) -> Loaded:
    """Load `model`. Raises PrunebenchError if it cannot read a prompt and the tokens after it."""
    loaded = load(model, compute)
    context = read_shape(loaded.manifest.directory / CONFIG).context
    if context is not None and params.prompt + params.tokens > context:
        raise PrunebenchError(
            f"--prompt {params.prompt} and --tokens {params.tokens}: {model} reads at most {context} tokens in all"
        )
    return loaded


def _stored(directory: Path) -> int:
    """Count the bytes of the files of weights in `directory`."""
    return sum(file.stat().st_size for file in read_layout(directory).files)
