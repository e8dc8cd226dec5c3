"""The kernels under AddressSanitizer: `make test-kernels`. NumPy and ctypes only, because PyTorch takes minutes there.

Arrays come from malloc, so that a read or write beside them ends the process. Results are compared with float64.
"""

import ctypes
import sys

import numpy as np

SPARE = 64
KINDS = {"bfloat16": 0, "float16": 1, "float32": 2, "int8": 3}


class Matrix(ctypes.Structure):
    """`Packed` in kernels.cpp."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "columns", "group")),
        *((name, ctypes.c_void_p) for name in ("mask", "values", "starts", "scales", "bias")),
    )


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Cut float32 to its upper 16 bits, which is exact for what `main` draws."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def main(path: str) -> None:
    """Call every function on every shape, kind, batch and number of threads."""
    library, source, calls = ctypes.CDLL(path), np.random.default_rng(0), 0
    assert library.prunebench_usable()
    number = ctypes.c_int64
    for rows, columns in ((1, 1), (1, 31), (3, 32), (5, 33), (8, 64), (7, 65), (33, 257)):
        for kept in (0.0, 0.4, 1.0):
            # Whole numbers up to 8 are exact in every dtype, and so are their sums.
            dense = source.integers(1, 9, (rows, columns)) * (source.random((rows, columns)) < kept)
            words = -(-columns // 32)
            bits = np.zeros((rows, words * 32), bool)
            bits[:, :columns] = dense != 0
            mask = np.packbits(bits, axis=1, bitorder="little").copy()
            starts = np.concatenate([[0], (dense != 0).sum(axis=1).cumsum()]).astype(np.int64)
            bias, scales = np.ones(rows, np.float32), np.full((rows, words), 0.5, np.float32)
            for kind, code in KINDS.items():
                exact = dense[dense != 0].astype(np.float32)
                values = to_bfloat16(exact) if kind == "bfloat16" else exact.astype(kind)
                values = np.concatenate([values, np.zeros(SPARE // values.itemsize, values.dtype)])
                matrix = Matrix(rows, columns, 32, mask.ctypes.data, values.ctypes.data, starts.ctypes.data)
                matrix.scales = scales.ctypes.data if kind == "int8" else None
                matrix.bias = bias.ctypes.data
                place, factor = ctypes.byref(matrix), 0.5 if kind == "int8" else 1.0
                for batch in (1, 2, 7, 8):
                    for threads in (1, 2, 5):
                        x = source.integers(-4, 5, (batch, columns)).astype(np.float32)
                        expected = factor * (x.astype(np.float64) @ dense.T) + 1
                        out = np.empty((batch, rows), np.float32)
                        library.prunebench_float(
                            place, ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(out.ctypes.data), number(batch),
                            number(threads), number(code),
                        )  # fmt: skip
                        assert (out == expected).all(), (kind, rows, columns, kept, batch)
                        calls += 1
                        if kind != "bfloat16":
                            continue
                        short, full = to_bfloat16(x), to_bfloat16(dense)
                        control = Matrix(rows, columns, 32, None, full.ctypes.data, None, None, bias.ctypes.data)
                        for function, target in (("brief", matrix), ("dense", control)):
                            brief = np.empty((batch, rows), np.uint16)
                            getattr(library, f"prunebench_{function}")(
                                ctypes.byref(target), ctypes.c_void_p(short.ctypes.data),
                                ctypes.c_void_p(brief.ctypes.data), number(batch), number(threads),
                            )  # fmt: skip
                            wide = (brief.astype(np.uint32) << 16).view(np.float32)
                            assert (np.abs(wide - expected) <= np.abs(expected) / 256).all(), function
                            calls += 1
                for first in (0, rows // 2):
                    if values.itemsize > 2:
                        continue
                    tile = np.full((rows - first, columns), 7, values.dtype)
                    library.prunebench_expand(
                        place, ctypes.c_void_p(tile.ctypes.data), number(values.itemsize), number(first), number(rows),
                        number(2),
                    )  # fmt: skip
                    assert ((tile != 0) == (dense[first:] != 0)).all()
                    assert (tile[dense[first:] != 0] == values[starts[first] : starts[-1]]).all()
                    calls += 1
    print(f"{calls} calls, no fault")


if __name__ == "__main__":
    main(sys.argv[1])
