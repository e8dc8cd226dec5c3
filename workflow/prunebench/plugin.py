"""The common base of methods, allocators and suites: a name, parameters with presets, and the axes they use."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict


class Search(NamedTuple):
    """The search of the catalog whose result an allocator uses: its best seed (None), or a certain seed."""

    name: str
    seed: int | None = None


class Parameters(BaseModel):
    """Base of every plug-in's parameters. Unknown keys are refused; the defaults are the preset `paper`.

    The `Field` of a parameter, or a string under it, says what it means. Like a docstring, that string re-runs nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class Support(NamedTuple):
    """Whether a plug-in can do a cell, and the reason if it cannot."""

    ok: bool
    reason: str = ""


class Plugin:
    """Base of all plug-ins. An instance is a plug-in with the parameters `params`."""

    name: ClassVar[str]
    """The name that configs use, which is also the name of the file."""
    title: ClassVar[str]
    """The name that tables print."""
    reference: ClassVar[str] = ""
    """The paper that the plug-in comes from."""
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}
    """Named changes of parameters. `paper`: what the paper states; `released`: what its code does, if that differs."""
    uses: ClassVar[frozenset[str]] = frozenset()
    """The axes of a cell that change the result: allocator, pattern, sparsity, calibration, seed, or some of them.

    An axis that no plug-in of a cell uses is fixed, so that nothing is computed twice.
    """

    Params: ClassVar[type[Parameters]] = Parameters

    @property
    def assets(self) -> tuple[str, ...]:
        """The assets that the plug-in reads besides the cell's model, as kind and catalog name: `corpora/c4_type`."""
        return ()

    def __init__(self, params: Any = None) -> None:
        self.params: Any = params if params is not None else self.Params()

    @classmethod
    def configure(cls, preset: str = "paper", overrides: dict[str, Any] | None = None) -> Any:
        """The validated parameters: the preset with `overrides` on top. Raises KeyError for an unknown preset."""
        return cls.Params.model_validate({**cls.presets[preset], **(overrides or {})})
