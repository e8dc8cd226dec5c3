"""The Python functions of the package: `prune`, `perplexity`, `evaluate`, `compare`, `search`, `speed` and others.

    >>> import prunebench
    >>> pruned = prunebench.prune("path/to/model", "my.txt", out="path/to/pruned", method="sparsegpt", sparsity=0.6)
    >>> prunebench.perplexity(pruned.directory, "other.txt").value
    >>> model = pruned.load()

They run the same stages as the command line and the benchmark. All take a model as a directory, as a name of the
catalog, as an id on the hub, or in memory. A model in memory is saved to a temporary directory when all other arguments
have been checked. `device` is by default a GPU if PyTorch finds one, else the CPU.

`progress` is True for a bar also outside a terminal, False for none, or a function that is called with each
`prunebench.Step`. What the function raises ends the work, which the same call takes up again if it has an `out`.
"""
