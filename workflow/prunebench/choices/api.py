"""The page of the Python functions, from their signatures and docstrings."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import prunebench

PYTHON = """\
# Python functions

`import prunebench` takes no time; torch is imported at the first call. Each command of the command line has a function:

- `Model` is a directory that `from_pretrained` loads, a name of the catalog (`prunebench models`), an id on the Hugging
  Face hub (owner/name or owner/name@revision), or a transformers model in memory.
- `Given` is text or token ids. Text is a list of strings, a dataset with a column of texts, the name of a file or
  directory, or the name of a corpus of the catalog. Token ids are an integer array [windows, seqlen] or the name of an
  .npy file.
- `Device` is a name of torch (cpu, cuda, cuda:1), a device, "auto", or None: what `PRUNEBENCH_DEVICE` names, or auto.
- `Progress` is True for a bar everywhere, False for none, None for one on a terminal, or a function that gets each
  `Step`.

Arguments are checked before any work, and each mistake is a `prunebench.PrunebenchError` of one line. The notebooks
[first-steps.ipynb](first-steps.ipynb) and [from-hub-to-hub.ipynb](from-hub-to-hub.ipynb) show the functions at work:
save one, `pip install notebook`, and open it by `jupyter notebook FILE`.
"""


def python_page() -> Iterator[str]:
    """Yield the parts of the page: each function, then each class that functions return or raise."""
    yield PYTHON
    public = {name: getattr(prunebench, name) for name in prunebench.__all__ if name != "__version__"}
    yield from (_function(name, value) for name, value in public.items() if inspect.isfunction(value))
    yield "## What functions return"
    yield from (_class(name, value) for name, value in public.items() if inspect.isclass(value))


def _function(name: str, function: Callable[..., Any]) -> str:
    return f"## `{name}`\n\n```text\n{_call(name, function)}\n```\n\n{inspect.getdoc(function)}"


def _call(name: str, function: Callable[..., Any]) -> str:
    """Print the signature of a function, with a line for each argument."""
    signature = inspect.signature(function)
    lines, named = [], False
    for argument in signature.parameters.values():
        if argument.kind is argument.KEYWORD_ONLY and not named:
            lines.append("*")
            named = True
        default = "" if argument.default is argument.empty else f" = {argument.default!r}"
        lines.append(f"{argument.name}: {argument.annotation}{default}")
    arguments = "".join(f"    {line},\n" for line in lines)
    return f"prunebench.{name}(\n{arguments}) -> {signature.return_annotation}"


def _class(name: str, kind: type) -> str:
    listed = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    fields = [f"- `{field.name}`: `{field.type}`" for field in listed]
    more = [
        f"- `{key}{'' if isinstance(value, property) else '()'}`: {(inspect.getdoc(value) or '').partition(chr(10))[0]}"
        for key, value in vars(kind).items()
        if not key.startswith("_") and (isinstance(value, property) or inspect.isfunction(value))
    ]
    return "\n\n".join(filter(None, [f"### `{name}`", inspect.getdoc(kind), "\n".join([*fields, *more])]))
