"""The suite of speed: what a sparsity buys in time, memory and bytes, against the dense model in one run."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt

from prunebench.lazy import torch
from prunebench.plugin import Parameters
from prunebench.storage.packed import Packing, packing_of
from prunebench.suites.base import Score, Suite
from prunebench.suites.metrics import Metric
from prunebench.suites.workloads import Workload

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prunebench.config.schema import Config
    from prunebench.engine.subject import Subject
    from prunebench.models.base import Family
    from prunebench.storage.resume import Parts

DENSE, ZEROS, KERNEL, PACKED = "dense", "zeros_in_place", "dense_kernel", "packed"
"""The forms of a model that are timed: the dense model, the pruned one with zeros in place (a control, as fast as the
dense one), the dense model by our own dense kernel (a control of what care in a kernel wins), and the packed one."""
TITLES = {
    DENSE: "dense, PyTorch",
    ZEROS: "zeros in place, PyTorch",
    KERNEL: "our dense kernel",
    PACKED: "packed",
}
BUSY = 0.25
"""The number of CPUs of other programs above which readers are told that times were disturbed."""


class SpeedParams(Parameters):
    """The protocol of a measurement of speed."""

    prompt: int = Field(512, ge=1, description="tokens of each prompt")
    tokens: int = Field(32, ge=2, description="tokens that are written in each pass, at batch 1")
    batches: list[PositiveInt] = Field([1, 8], min_length=1, description="numbers of sequences at once")
    repeats: int = Field(5, ge=1, description="passes of each form; medians are reported")
    bits: Literal[8] | None = Field(None, description="bits of packed values; default those of the model")
    group: int | None = Field(None, ge=32, multiple_of=32, description="with bits: columns that share a scale")

    @property
    def packing(self) -> Packing:
        """How the values of the packed form are kept. Raises PrunebenchError for a group without bits."""
        packing = packing_of(True, self.bits, self.group)
        assert packing is not None
        return packing


@dataclass(frozen=True)
class Form:
    """One way to run a model."""

    model: PreTrainedModel
    directory: Path | None = None
    """The directory from which a fresh process loads this form; None for a control."""


class Speed(Suite):
    """Measure how fast the pruned model reads and writes, its memory and its bytes, beside the dense model.

        suites:
          speed: {suite: speed, params: {prompt: 512, tokens: 32, batches: [1, 8]}, compute: {threads: 2}}

    The forms of a model take turns within one job: `dense` is the model before pruning, by PyTorch; `zeros_in_place` is
    the pruned model as `prunebench export` writes it, by PyTorch; `dense_kernel` is the dense model by a dense kernel
    of our own, which tells what a better kernel wins without any zero; `packed` is the packed model. Each pass reads
    random prompts and writes tokens greedily. Medians over passes are reported: `prefill_B` (tokens of prompts per
    second at batch B), `first_B` (seconds to the first token), `decode_B` (tokens written per second). Fresh
    processes load the dense and the packed directory: `load` is the time in seconds, `peak` the largest memory of the
    process with its libraries. Of a cell that prunes nothing, the dense forms alone are measured.

    These numbers belong to a machine, so they are kept in measured.json beside the result, and no spec has them. Delete
    the result of a cell to measure it again. The result itself has only bytes: `disk` (all tensors, in MB of 10^6
    bytes), and `linears`, the bytes of the blocks' linears divided by the bytes of the dense ones. The job has the
    machine of a workflow to itself; a table says if other programs were busy meanwhile.
    """

    Params = SpeedParams
    name = "speed"
    title = "Speed and size"
    metrics = (
        Metric("prefill", "Prompt, tokens/s", digits=0, clocked=True),
        Metric("first", "First token, s", lower=True, digits=3, clocked=True),
        Metric("decode", "Written, tokens/s", digits=1, clocked=True),
        Metric("load", "Load, s", lower=True, clocked=True),
        Metric("peak", "Memory, MB", lower=True, digits=0, clocked=True),
        Metric("disk", "Disk, MB", lower=True, digits=0),
        Metric("linears", "Bytes of linears", lower=True),
    )
    table = "efficiency"
    alone = True

    @property
    def longest(self) -> int:
        """The prompt and the tokens that follow."""
        return int(self.params.prompt + self.params.tokens)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The forms of the model."""
        return (DENSE, ZEROS, KERNEL, PACKED)

    def mistakes(self, config: Config) -> Iterator[str]:
        """Yield a mistake if scales of groups are asked for without values of 8 bits."""
        if self.params.group and not self.params.bits:
            yield "group: scales belong to packed values of 8 bits: add bits: 8, or leave it out"

    def workload(self, config: Config) -> Workload:
        """All passes of all forms."""
        passes = (self.params.repeats + 1) * len(self.tasks) * sum(self.params.batches)
        return Workload(passes * self.params.prompt, self.longest, passes * self.params.tokens, models=3)

    def run(self, subject: Subject, assets: Mapping[str, Path], parts: Parts) -> list[Score]:
        """Measure all forms of `subject`; see `Suite.run`. A killed job begins again."""
        from prunebench.packed.load import load_packed

        dense = Form(subject.dense.whole(), subject.directory)
        forms = {DENSE: dense, **by_kernel(dense.model, subject.family, subject.dtype)}
        whole, linears = dense_bytes(subject)
        scores = [Score(DENSE, "disk", whole / 1e6, None, 1), Score(DENSE, "linears", 1.0, None, 1)]
        with tempfile.TemporaryDirectory(prefix="packed-", dir=parts.directory) as folder:
            if subject.pruned:
                file = write_packed(subject, Path(folder), self.params.packing)
                forms |= {
                    ZEROS: Form(subject.whole()),
                    PACKED: Form(load_packed(Path(folder), subject.dtype), Path(folder)),
                }
                # Everything but the linears has equal bytes in both.
                share = (linears - whole + file.stat().st_size) / linears
                scores.append(Score(PACKED, "disk", file.stat().st_size / 1e6, None, 1))
                scores.append(Score(PACKED, "linears", share, None, 1))
            return [*scores, *timed(forms, self.params, subject.dtype)]

    def headline(self, scores: list[Score]) -> str:
        """Write how many times faster than the dense model the packed one writes, and its share of bytes."""
        values = {(score.task, score.metric): score.value for score in scores}
        if (PACKED, "linears") not in values:
            return f"dense: {values[DENSE, f'decode_{self.params.batches[0]}']:.1f} tokens/s"
        gains = [
            f"{values[PACKED, name] / values[DENSE, name]:.2f} times dense at batch {batch}"
            for batch in self.params.batches
            if (PACKED, name := f"decode_{batch}") in values
        ]
        return f"writes {', '.join(gains)}; linears {values[PACKED, 'linears']:.2f} times dense"


def by_kernel(model: PreTrainedModel, family: type[Family], dtype: torch.dtype) -> dict[str, Form]:
    """Make the form of a dense `model` by our own dense kernel; empty where that kernel cannot run."""
    from prunebench.packed import kernels
    from prunebench.packed.load import by_dense_kernel

    on_cpu = model.get_input_embeddings().weight.device.type == "cpu"
    if not on_cpu or dtype != torch.bfloat16 or kernels.chosen().library is None:
        return {}
    return {KERNEL: Form(by_dense_kernel(model, family.blocks))}


def dense_bytes(subject: Subject) -> tuple[int, int]:
    """Count the bytes of all tensors of the dense model, and those of the weights of its blocks' linears."""
    from prunebench.engine.anatomy import linear_sizes
    from prunebench.storage.tensors import TensorStore

    store = TensorStore(subject.directory)
    sizes = {name: math.prod(store.shape(name)) * (subject.storage or store.dtype(name)).itemsize for name in store}
    linears = linear_sizes(subject.directory, subject.family)
    return sum(sizes.values()), sum(sizes[f"{name}.weight"] for name in linears)


def write_packed(subject: Subject, directory: Path, packing: Packing) -> Path:
    """Write the packed model of `subject` to `directory`, without its tokenizer; returns the file of weights."""
    from prunebench.storage.layout import CONFIG, read_layout
    from prunebench.storage.packed import PACKED
    from prunebench.storage.tensors import TensorStore
    from prunebench.storage.writing import write_weights

    base, changed = TensorStore(subject.directory, subject.storage), subject.pruned
    shutil.copyfile(subject.directory / CONFIG, directory / CONFIG)
    layout = read_layout(subject.directory)
    write_weights(layout, lambda name: (changed if name in changed else base)[name], directory, packing)
    return directory / PACKED


def timed(forms: Mapping[str, Form], params: Any, dtype: torch.dtype) -> list[Score]:
    """Measure the times and the memory of all `forms`, by `params` (see `SpeedParams`).

    The details of the first score tell the conditions: threads, kernel, and the CPUs of other programs meanwhile.
    """
    from prunebench.packed import kernels
    from prunebench.packed.fresh import in_fresh_process
    from prunebench.packed.timing import Others, in_turn

    scores = []
    for name, form in forms.items():
        if form.directory is not None:
            fresh = in_fresh_process(form.directory, str(dtype).removeprefix("torch."), params.prompt)
            scores += [Score(name, "load", fresh.load, None, 1), Score(name, "peak", fresh.peak, None, 1)]
    others = Others()
    for batch in params.batches:
        models = {name: form.model for name, form in forms.items()}
        tokens = max(2, params.tokens // batch)  # more sequences at once need fewer steps for a median
        speeds = in_turn(models, batch=batch, prompt=params.prompt, tokens=tokens, repeats=params.repeats)
        for name, speed in speeds.items():
            scores += [
                Score(name, f"prefill_{batch}", speed.prefill, None, params.repeats),
                Score(name, f"first_{batch}", speed.first.wall, None, params.repeats),
                Score(name, f"decode_{batch}", speed.decode, None, params.repeats),
            ]
    details = {"threads": torch.get_num_threads(), "kernel": kernels.chosen().why, "others": round(others.cpus(), 2)}
    return [replace(scores[0], details=details), *scores[1:]]


def setting(details: Mapping[str, Any]) -> str:
    """Name the threads and the kernel of a measurement, from the details of its first time."""
    return f"{details['threads']} thread{'s' if details['threads'] > 1 else ''}, kernel: {details['kernel']}"


def conditions(scores: list[Score]) -> str:
    """Say with which threads and kernel `scores` were timed, and whether other programs were busy."""
    details = next(score.details for score in scores if "kernel" in score.details)
    busy = f"; other programs used {details['others']:.1f} CPUs" if details["others"] > BUSY else ""
    return f"{setting(details)}{busy}"
