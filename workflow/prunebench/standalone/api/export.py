"""The function `prunebench.export`."""

from __future__ import annotations

from pathlib import Path

from prunebench.errors import PrunebenchError, disk_errors_told
from prunebench.standalone.arguments import check_arguments, in_python, is_path
from prunebench.standalone.export import export_or_repack
from prunebench.storage.files import named_destination, named_path
from prunebench.storage.packed import packing_of


def export(
    cell: str | Path,
    directory: str | Path,
    *,
    packed: bool = False,
    dense: bool = False,
    bits: int | None = None,
    group: int | None = None,
    force: bool = False,
) -> Path:
    """Write the pruned model of a finished `cell` of a study to `directory`, and return the directory.

    `cell` is named as for `prunebench show` (wanda/owl/0.70); this must be called in the directory of the study. With
    `packed` zeros are left out, and with `bits` 8 values have 8 bits, with a scale for each `group` of columns. Then
    `cell` may also be a model directory, which is packed. With `dense` a packed model directory is written densely
    again. With `force` the content of `directory` is deleted first.

    Raises PrunebenchError if there is no such cell, if its weights were not kept, or if `directory` has content.
    """
    flags = {"packed": packed, "dense": dense, "force": force}
    check_arguments({"bits": 1, "group": 1}, {**flags, "bits": bits, "group": group})
    if not is_path(cell) or not is_path(directory):
        name = "directory" if is_path(cell) else "cell"
        raise PrunebenchError(f"'{name}' is no path: give a name; a model in memory has its own save_pretrained")
    named_path(cell, "'cell'")
    destination = named_destination(directory, "'directory'")
    with in_python(), disk_errors_told():
        packing = packing_of(packed, bits, group)
        export_or_repack(str(cell), destination, packing, dense=dense, force=force)
    return destination
