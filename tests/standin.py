"""A stand-in accelerator: torch's spare device type, with tensors whose bytes lie in the host's memory.

Importing this module registers the device type `standin` with two devices, which are absent until `present` makes them
available. A tensor on it is a real tensor of torch's own class: its storage points at memory of a CPU tensor, and
DLPack makes either of the two from the other without a copy. Every operation runs on the CPU's kernels, after the
checks that CUDA makes:

- The tensors of an operation are on one device. Tensors move by `.to`, `.cpu` and `copy_` alone. A tensor of no
  dimensions may stay on the CPU where CUDA takes it for a number, and so may the indices of `x[indices]`.
- Results, views and gradients are on the device of their operands.
- Memory is limited and counted: `memory_allocated`, `max_memory_allocated`, `mem_get_info`, torch.OutOfMemoryError.
- Random numbers come from a generator of the device, which draws other numbers than the CPU's.

What it does not show: time, streams, rounding that is CUDA's own, and kernels that CUDA lacks or refuses.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME, COUNT = "standin", 2
MEMORY = 1 << 30
"""The bytes of each device, unless `present` says otherwise."""

_KEY = "PrivateUse1"
_CPU, _EXTENSION = 1, 12  # DLDeviceType of dlpack.h
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype, _capsule_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]

_aten = torch.ops.aten
_STRICT = {
    *(_aten.equal, _aten.searchsorted, _aten.bucketize, _aten.embedding, _aten.index_select, _aten.gather),
    *(_aten.scatter, _aten.scatter_, _aten.scatter_add, _aten.scatter_add_, _aten.take, _aten.addcmul, _aten.addcmul_),
    *(_aten.addcdiv, _aten.addcdiv_, _aten.nll_loss_forward, _aten.bincount),
}
"""Operations for which CUDA takes no tensor of the CPU, not even one of no dimensions."""
_INDEXING = {_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_, _aten._unsafe_index}
"""Operations whose lists of indices may be on the CPU."""


@dataclass
class _Memory:
    """The bytes of one device."""

    total: int = MEMORY
    used: int = 0
    peak: int = 0

    def take(self, size: int, name: str) -> None:
        """Count `size` more bytes. Raises OutOfMemoryError if there is no room."""
        if self.used + size > self.total:
            raise torch.OutOfMemoryError(
                f"{name}: tried to allocate {size} bytes, {self.total - self.used} of {self.total} are free"
            )
        self.used += size
        self.peak = max(self.peak, self.used)

    def give_back(self, size: int) -> None:
        """Count `size` bytes as free again."""
        self.used -= size


class _Module:
    """The functions that torch and its users expect at `torch.standin`."""

    def __init__(self) -> None:
        self.available = False
        self.memory = [_Memory() for _ in range(COUNT)]
        self.random = torch.Generator().manual_seed(1).get_state()

    def is_available(self) -> bool:
        return self.available

    def is_initialized(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def device_count(self) -> int:
        return COUNT if self.available else 0

    def current_device(self) -> int:
        return 0

    def synchronize(self, device: Any = None) -> None:
        pass

    def empty_cache(self) -> None:
        pass

    def get_device_name(self, device: Any = None) -> str:
        return "stand-in"

    def get_device_properties(self, device: Any = None) -> SimpleNamespace:
        return SimpleNamespace(name="stand-in", total_memory=self.of(device).total)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def manual_seed_all(self, seed: int) -> None:
        # A device of its own kind draws its own numbers: the seed is not the CPU's.
        self.random = torch.Generator().manual_seed((seed + 0x5EED) % 2**63).get_state()

    def memory_allocated(self, device: Any = None) -> int:
        return self.of(device).used

    def max_memory_allocated(self, device: Any = None) -> int:
        return self.of(device).peak

    def reset_peak_memory_stats(self, device: Any = None) -> None:
        self.of(device).peak = self.of(device).used

    def mem_get_info(self, device: Any = None) -> tuple[int, int]:
        memory = self.of(device)
        return memory.total - memory.used, memory.total

    def of(self, device: Any) -> _Memory:
        """The memory of a device, which may be a torch.device, its name, its number, or None for the first."""
        index = device if isinstance(device, int) else torch.device(device or NAME).index
        return self.memory[index or 0]


class _Hooks(torch._C._acc.PrivateUse1Hooks):  # type: ignore[misc]
    def is_available(self) -> bool:
        return module.available

    def is_built(self) -> bool:
        return True

    def has_primary_context(self, device_index: int) -> bool:
        return module.available


@contextmanager
def present(memory: int = MEMORY) -> Iterator[_Module]:
    """Let there be the two devices, each with `memory` free bytes, for as long as the context lasts."""
    for place in module.memory:
        place.total = place.used + memory
        place.peak = place.used
    module.available = True
    try:
        # torch has a thread for the backward passes of one device of this type, and none for a second.
        with torch.autograd.set_multithreading_enabled(False):
            yield module
    finally:
        module.available = False


def host(tensor: Tensor) -> Tensor:
    """A CPU tensor on the bytes of `tensor`."""
    return _elsewhere(tensor, _CPU, 0)


def _elsewhere(tensor: Tensor, kind: int, index: int) -> Tensor:
    """A tensor on the bytes of `tensor` that says it is on the device `index` of DLPack's `kind`."""
    capsule = torch._C._to_dlpack(tensor)  # type: ignore[attr-defined]
    device = (ctypes.c_int32 * 2).from_address(_capsule_pointer(capsule, b"dltensor") + 8)
    device[0], device[1] = kind, index
    moved: Tensor = torch._C._from_dlpack(capsule)  # type: ignore[attr-defined]
    return moved


def _placed(tensor: Tensor, index: int) -> Tensor:
    """The fresh CPU tensor `tensor` as a tensor of device `index`, whose memory it takes until it is freed."""
    storage, memory = tensor.untyped_storage(), module.memory[index]
    size = storage.nbytes()
    memory.take(size, f"{NAME}:{index}")
    weakref.finalize(storage, memory.give_back, size).atexit = False
    return _elsewhere(tensor.detach(), _EXTENSION, index)


def _view(base: Tensor, result: Tensor) -> Tensor:
    """The view of the device tensor `base` that `result` is of its bytes."""
    offset = (result.data_ptr() - base.untyped_storage().data_ptr()) // result.element_size()
    return _as_strided(_aten.view.dtype(base, result.dtype), result.size(), result.stride(), offset)


@dataclass
class _Operation:
    """The facts about its tensors that the schema of an operation states."""

    run: Any
    views: bool
    written: frozenset[int | str]
    """The arguments that it writes to, by position and by name."""
    tensors: frozenset[int | str]
    """The arguments that are tensors, by position and by name."""
    random: bool

    @classmethod
    def of(cls, op: Any) -> _Operation:
        arguments = op._schema.arguments
        written = [
            key
            for position, argument in enumerate(arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
            for key in (position, argument.name)
        ]
        views = any(entry.alias_info is not None and not entry.alias_info.is_write for entry in op._schema.returns)
        tensors = frozenset(
            key
            for position, argument in enumerate(arguments)
            if str(argument.type) == "Tensor"
            for key in (position, argument.name)
        )
        return cls(op, views, frozenset(written), tensors, torch.Tag.nondeterministic_seeded in op.tags)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        operands = _Operands(self)
        device = operands.device(args, kwargs)
        arguments = [operands.host(key, value) for key, value in enumerate(args)]
        options = {key: operands.host(key, value) for key, value in kwargs.items()}
        if "device" in options:
            options["device"] = None if options["device"] is None else "cpu"
            options.pop("pin_memory", None)
        with _drawing(self.random, options.get("generator")):
            result = self.run(*arguments, **options)
        operands.grow()
        return operands.placed(result, device)


class _Operands:
    """The tensors of one call."""

    def __init__(self, operation: _Operation) -> None:
        self._operation = operation
        self._pairs: list[tuple[Tensor, Tensor, bool]] = []
        """(tensor of the device, its host tensor, whether the operation writes to it)"""

    def device(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        """The number of the one device of all operands. Raises RuntimeError as CUDA does if there are two."""
        packet = self._operation.run.overloadpacket
        devices: set[torch.device] = set()
        hosts = False
        for key, value in (*enumerate(args), *kwargs.items()):
            several = isinstance(value, (list, tuple))
            for tensor in value if several else (value,):
                if not isinstance(tensor, Tensor):
                    continue
                if tensor.device.type == NAME:
                    devices.add(tensor.device)
                elif not (several and packet in _INDEXING) and (
                    tensor.dim() or key in self._operation.written or packet in _STRICT
                ):
                    hosts = True
        if devices and hosts:
            devices.add(torch.device("cpu"))
        if len(devices) > 1:
            first, second, *_ = sorted(map(str, devices), reverse=True)
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {first} and {second}! "
                f"(in {self._operation.run})"
            )
        (place,) = devices or {torch.device(kwargs.get("device") or NAME)}
        return place.index or 0

    def host(self, key: int | str, value: Any) -> Any:
        """`value` with host tensors in place of the device's."""
        if isinstance(value, Tensor):
            if value.device.type != NAME:
                return value
            written = key in self._operation.written
            # The kernels of the CPU can give a tensor without elements its size only if they own its memory.
            fresh = written and not value.numel()
            inside = torch.empty(value.shape, dtype=value.dtype) if fresh else host(value)
            self._pairs.append((value, inside, written))
            return inside
        if isinstance(value, (list, tuple)):
            return [self.host(key, entry) for entry in value]
        # torch hands a number over in place of the tensor that it has made of it.
        return torch.tensor(value) if isinstance(value, bool) and key in self._operation.tensors else value

    def grow(self) -> None:
        """Give the device tensors that the operation has resized their new memory."""
        for outside, inside, written in self._pairs:
            if written and inside.shape != outside.shape:
                outside.data = _placed(inside, outside.device.index)

    def placed(self, result: Any, device: int) -> Any:
        """`result` with tensors of the device in place of host tensors."""
        if isinstance(result, (list, tuple)):
            return type(result)(self.placed(entry, device) for entry in result)
        if not isinstance(result, Tensor):
            return result
        for outside, inside, _ in self._pairs:
            if result is inside:
                return outside
        if self._operation.views and result.numel():
            for outside, _, _ in self._pairs:
                storage = outside.untyped_storage()
                if storage.data_ptr() <= result.data_ptr() < storage.data_ptr() + storage.nbytes():
                    return _view(outside, result)
        return _placed(result, device)


@contextmanager
def _drawing(random: bool, generator: torch.Generator | None) -> Iterator[None]:
    """Let an operation that is `random` draw from the device's generator."""
    if generator is not None:
        raise RuntimeError(f"Expected a '{NAME}' device type for generator but found '{generator.device.type}'")
    if not random:
        yield
        return
    before = torch.get_rng_state()
    torch.set_rng_state(module.random)
    try:
        yield
    finally:
        module.random = torch.get_rng_state()
        torch.set_rng_state(before)


_known: dict[Any, _Operation] = {}


def _fallback(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Run an operation of tensors of which at least one, or the result, is on the device."""
    if op not in _known:
        _known[op] = _Operation.of(op)
    return _known[op](*args, **kwargs)


def _copy(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """Copy between devices, or within one."""
    inside, content = (host(tensor) if tensor.device.type == NAME else tensor for tensor in (target, source))
    inside.copy_(content)
    return target


def _mm_to(a: Tensor, b: Tensor, out_dtype: torch.dtype) -> Tensor:
    """A product of 16-bit factors that is summed in `out_dtype`, which the CPU has no kernel for, unlike CUDA."""
    return _fallback(_aten.mm.default, a.to(out_dtype), b.to(out_dtype))


def _as_strided(tensor: Tensor, size: list[int], stride: list[int], storage_offset: int | None = None) -> Tensor:
    """`tensor.as_strided`, the view that most views are made of; the offset counts from the start of the storage."""
    offset = tensor.storage_offset() if storage_offset is None else storage_offset
    view: Tensor = _aten.alias(tensor)
    return view.as_strided_(size, stride, offset)


def _resize(tensor: Tensor, size: list[int], memory_format: Any = None) -> Tensor:
    """`tensor.resize_`; its elements are kept."""
    inside = host(tensor).clone().resize_(size)
    tensor.data = _placed(inside, tensor.device.index)
    return tensor


module = _Module()
_setup_privateuseone_for_python_backend(NAME, module, _Hooks())
_LIBRARIES = [torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")]
_LIBRARIES[0].fallback(_fallback, _KEY)
_kernels: dict[str, Callable[..., Tensor]] = {
    "copy_": _copy,
    "as_strided": _as_strided,
    "mm.dtype": _mm_to,
    "resize_": _resize,
}
for _name, _kernel in _kernels.items():
    _LIBRARIES[1].impl(_name, _kernel, _KEY)
