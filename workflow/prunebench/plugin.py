"""What methods, allocators and suites have in common: a name, parameters with presets, and the axes they use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    pass

from pydantic import BaseModel, ConfigDict


class Search(NamedTuple):
    """Where an allocator takes what it does from: a search of the catalog, its best seed or a certain one."""

    name: str
    seed: int | None = None


class Parameters(BaseModel):
    """Base of every plug-in's parameters: unknown keys are refused. Defaults are the preset `paper`.

    What a parameter means is said by its `Field`, or by a string under it, which like a docstring re-runs nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class Support(NamedTuple):
    """Whether a plug-in can do a cell, and if not, why."""

    ok: bool
    reason: str = ""


class Plugin:
    """Base of all plug-ins; an instance is one configured plug-in."""

    name: ClassVar[str]
    """How configs call it; equals the file name."""
    title: ClassVar[str]
    """How tables print it."""
    reference: ClassVar[str] = ""
    """The paper it comes from."""
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}
    """Named parameter changes. `paper`: what the paper states; `released`: what its code does, where that differs."""
    uses: ClassVar[frozenset[str]] = frozenset()
    """The cell axes that change its result, among allocator, pattern, sparsity, calibration, seed.

    A cell that no plug-in of it needs an axis for has that axis fixed, so that nothing is computed twice.
    """

    Params: ClassVar[type[Parameters]] = Parameters

    @property
    def assets(self) -> tuple[str, ...]:
        """What it reads besides the cell's model, as kind and catalog name: corpora/c4_type."""
        return ()

    def __init__(self, params: Any = None) -> None:
        self.params: Any = params if params is not None else self.Params()

    @classmethod
    def configure(cls, preset: str = "paper", overrides: dict[str, Any] | None = None) -> Any:
        """Validated parameters: the preset with `overrides` on top. KeyError for an unknown preset."""
        return cls.Params.model_validate({**cls.presets[preset], **(overrides or {})})
