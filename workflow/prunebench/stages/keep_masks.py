"""Stage keep_masks: write which weights of a cell are zero, for when the weights themselves are not kept."""

from pathlib import Path

from prunebench.storage import checkpoints
from prunebench.storage.packing import MASK, bitmask
from prunebench.storage.tensors import TensorStore


def keep_masks(weights: Path, masks: Path) -> None:
    """Write the bitmask of every matrix in the packed file `weights` to `masks`, under the same name as there."""
    checkpoints.verify(weights)
    parts = TensorStore(weights)
    bitmasks = {name: part for name, part in parts.items() if name.endswith(MASK)}
    # All other entries are vectors, values beside a mask, and matrices that have too few zeros to be packed.
    whole = {name: part for name, part in parts.items() if part.dim() > 1 and name not in bitmasks}
    bitmasks |= {name + MASK: bitmask(part) for name, part in whole.items()}
    checkpoints.save(masks, bitmasks)
