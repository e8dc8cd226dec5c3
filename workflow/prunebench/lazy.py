"""torch, imported at its first use.

The parse of the Snakefile imports plug-ins to read their parameters and what they support; to import torch as well
would cost seconds in every cluster job. `from prunebench.lazy import torch` behaves like `import torch`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch as torch
else:
    import lazy_loader

    torch = lazy_loader.load("torch")
