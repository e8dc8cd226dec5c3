"""The compiled kernels of `kernels.cpp`, called through ctypes, and the choice between them and PyTorch alone."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from prunebench.errors import PrunebenchError
from prunebench.packed.matrix import PackedMatrix

SWITCH = "PRUNEBENCH_KERNEL"
"""The environment variable that chooses: `auto` (the default), or `portable`, as if the CPU had no such features."""
AUTO, PORTABLE = "auto", "portable"
MOST = 8
"""The greatest number of vectors that a kernel multiplies at once."""
KINDS = {torch.bfloat16: 0, torch.float16: 1, torch.float32: 2, torch.int8: 3}
"""The dtypes of values that the kernels read, and their numbers there."""


class _Matrix(ctypes.Structure):
    """`Packed` in kernels.cpp."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "columns", "group")),
        *((name, ctypes.c_void_p) for name in ("mask", "values", "starts", "scales", "bias")),
    )


class Choice(NamedTuple):
    """The kernel that computes products with packed matrices."""

    library: ctypes.CDLL | None
    """None if PyTorch alone does."""
    why: str


class Call:
    """A packed matrix, or a dense one in bfloat16, and a bias, as the kernels take them. It keeps their tensors alive.

    The bias is float32 [rows], or None.
    """

    def __init__(self, library: ctypes.CDLL, matrix: PackedMatrix | Tensor, bias: Tensor | None) -> None:
        self._library, self._kept = library, (matrix, bias)
        dense = isinstance(matrix, Tensor)
        rows, columns = matrix.shape if isinstance(matrix, Tensor) else (matrix.rows, matrix.columns)
        parts = [None, matrix] if isinstance(matrix, Tensor) else [matrix.mask, matrix.values]
        parts += [None, None] if isinstance(matrix, Tensor) else [matrix.starts, matrix.scales]
        assert all(part is None or part.is_contiguous() for part in (*parts, bias))
        places = (0 if part is None else part.data_ptr() for part in (*parts, bias))
        group = 32 if isinstance(matrix, Tensor) else matrix.group
        self._matrix = _Matrix(rows, columns, group, *places)
        self._place = ctypes.addressof(self._matrix)
        self.rows, self.columns = rows, columns
        values = matrix if isinstance(matrix, Tensor) else matrix.values
        self._kind, self._size = KINDS[values.dtype], values.element_size()
        self._brief = library.prunebench_dense if dense else library.prunebench_brief
        self.is_brief = values.dtype == torch.bfloat16

    def product(self, x: Tensor) -> Tensor:
        """Multiply x [batch, columns], with 1 to MOST rows, by the transposed matrix: [batch, rows] in x's dtype."""
        threads = torch.get_num_threads()
        if self.is_brief and x.dtype == torch.bfloat16:
            x = x.contiguous()
            out = torch.empty((len(x), self.rows), dtype=torch.bfloat16)
            self._brief(self._place, x.data_ptr(), out.data_ptr(), len(x), threads)
            return out
        whole = x.float().contiguous()
        out = torch.empty((len(x), self.rows), dtype=torch.float32)
        self._library.prunebench_float(self._place, whole.data_ptr(), out.data_ptr(), len(x), threads, self._kind)
        return out.to(x.dtype)

    def expand(self, out: Tensor, first: int) -> None:
        """Write the values of the rows from `first` on, with zeros in place, to `out` [n, columns], of their dtype."""
        self._library.prunebench_expand(
            self._place, out.data_ptr(), self._size, first, first + len(out), torch.get_num_threads()
        )


def chosen() -> Choice:
    """The kernel of this machine, as SWITCH says. Raises PrunebenchError if it says something else."""
    return _chosen(os.environ.get(SWITCH) or AUTO)


@cache
def _chosen(switch: str) -> Choice:
    if switch not in (AUTO, PORTABLE):
        raise PrunebenchError(f"{SWITCH}={switch} is neither {AUTO} nor {PORTABLE}: unset it, or choose one of them")
    if switch == PORTABLE:
        return Choice(None, f"{SWITCH}={PORTABLE}")
    paths = sorted(Path(__file__).parent.glob("_kernels*.so"))
    if not paths:
        return Choice(None, "no kernels are built: install a C++ compiler, then pip install -e . (or make kernels)")
    try:
        library = ctypes.CDLL(str(paths[-1]))
        library.prunebench_usable.restype = ctypes.c_int64
        usable = library.prunebench_usable()
    except (OSError, AttributeError) as error:
        return Choice(None, f"{paths[-1].name} cannot be loaded ({error})")
    if not usable:
        return Choice(None, "this CPU lacks AVX-512 VBMI2 or BF16")
    place, number = ctypes.c_void_p, ctypes.c_int64
    library.prunebench_brief.argtypes = library.prunebench_dense.argtypes = (place, place, place, number, number)
    library.prunebench_float.argtypes = (place, place, place, number, number, number)
    library.prunebench_expand.argtypes = (place, place, number, number, number, number)
    for function in ("brief", "dense", "float", "expand"):
        getattr(library, f"prunebench_{function}").restype = None
    return Choice(library, "AVX-512 VBMI2 and BF16")
