"""torch, imported at its first use.

Plug-ins are imported while the Snakefile parses, to read their parameters and what they support; importing torch
there would cost seconds in every cluster job. `from prunebench.lazy import torch` behaves as `import torch`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch as torch
else:
    import lazy_loader

    torch = lazy_loader.load("torch")
