"""The instructions of this machine's CPU that decide which dtype is fast. This imports no torch."""

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}


def for_bfloat16() -> list[str]:
    """Return the sorted names of the CPU's instructions for products in bfloat16; without any it is slow."""
    flags = set(CPUINFO.read_text().split()) if CPUINFO.exists() else set()
    return sorted(flags & _BFLOAT16)
