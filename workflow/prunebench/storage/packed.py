"""The parts of a packed model's file: their names, and how values are kept. This imports no torch."""

from typing import NamedTuple

from prunebench.errors import PrunebenchError

PACKED = "packed.safetensors"
"""The name of the file of a packed model, which from_pretrained does not take for its own."""
PACKED_AGAIN = "export the model again, or get the file again from where it came"
"""The advice on such a file that is damaged."""
MASK, VALUES = ".mask", ".values"
"""The suffixes of a tensor's name for the parts of its packed form (see `storage.packing`)."""
SCALES = ".scales"
"""The suffix of the scales of values of 8 bits."""


class Packing(NamedTuple):
    """How the values of a packed export are kept."""

    bits: int | None = None
    """None: as they are. 8: int8 with a scale for each `group` columns of a row."""
    group: int | None = None
    """A multiple of 32; None means a scale for each row."""

    def columns(self, width: int) -> int | None:
        """The number of columns that share a scale in a matrix of `width` columns; None without scales.

        A group longer than a row has the row's columns.
        """
        row = 32 * -(-width // 32)
        return None if self.bits is None else min(self.group or row, row)


def packing_of(packed: bool, bits: int | None, group: int | None) -> Packing | None:
    """The packing that the options --packed, --bits and --group ask for; None without --packed.

    Raises PrunebenchError for options that have no meaning together.
    """
    if not packed and (bits is not None or group is not None):
        raise PrunebenchError("--bits and --group belong to a packed model: give --packed too")
    if bits not in (None, 8):
        raise PrunebenchError(f"--bits {bits}: packed values have 8 bits, or without --bits those of the model")
    if group is not None and (bits is None or group % 32 or group < 32):
        raise PrunebenchError(f"--group {group}: give a multiple of 32, with --bits 8")
    return Packing(bits, group) if packed else None
