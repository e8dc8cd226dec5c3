"""The common base of methods, allocators and suites: a name, parameters with presets, and the axes they use."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, model_validator


class Search(NamedTuple):
    """The search of the catalog whose result an allocator uses: its best seed (None), or a certain seed."""

    name: str
    seed: int | None = None


class Closed(BaseModel):
    """Base of all that a user may write: unknown keys, infinity, and `true` for a number are refused.

    Instances do not change.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, data: Any) -> Any:
        """Make texts of truth values in place of numbers, which are refused as texts that are no numbers.

        Pydantic would take `true` for 1. YAML makes truth values of `yes`, `on`, `no` and `off`, too.
        """
        if not isinstance(data, Mapping):
            return data
        return {key: _no_truth(value) if key in _numbers(cls) else value for key, value in data.items()}


def _no_truth(value: Any) -> Any:
    if isinstance(value, list):
        return [_no_truth(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else value


@cache
def _numbers(model: type[BaseModel]) -> frozenset[str]:
    """The fields of `model` that hold numbers and no truth values."""
    kinds = {name: _parts(field.annotation) for name, field in model.model_fields.items()}
    return frozenset(name for name, parts in kinds.items() if {int, float} & parts and bool not in parts)


def _parts(annotation: Any) -> frozenset[Any]:
    """The types that an annotation is made of."""
    inside = get_args(annotation)
    return (
        frozenset().union(*map(_parts, inside))
        if inside
        else frozenset([annotation] if isinstance(annotation, type) else [])
    )


class Parameters(Closed):
    """Base of every plug-in's parameters. The defaults are the preset `paper`.

    The `Field` of a parameter, or a string under it, says what it means. Like a docstring, that string re-runs nothing.
    """


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
