"""Settings of glibc's allocator for tensors of many megabytes that come and go. Other C libraries ignore them.

By default every such tensor is mapped anew and faulted in page by page, which costs up to half of a forward pass on
the CPU. To keep the pages is fast but lets the heap fragment without bound; so they are kept during a block and given
back between blocks, and tensors of a size that only large models have are always mapped.
"""

import ctypes
import sys
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from malloc.h
_LARGE = 1 << 26
"""Bytes from which a tensor is mapped: its pages cost little beside the work on it, and leave no hole in the heap."""
_ONE_GIB = 1 << 30


@cache
def _libc() -> ctypes.CDLL | None:
    """The C library, set to keep freed pages; None if it is not glibc."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    if not hasattr(library, "malloc_trim"):
        return None
    library.mallopt(_M_MMAP_THRESHOLD, _LARGE)
    library.mallopt(_M_TRIM_THRESHOLD, _ONE_GIB)
    return library


def keep_freed_pages() -> None:
    """Keep the memory that tensors free, from now on, for the next tensors."""
    _libc()


def give_back_freed_pages() -> None:
    """Return all free pages to the system."""
    library = _libc()
    if library is not None:
        library.malloc_trim(0)
