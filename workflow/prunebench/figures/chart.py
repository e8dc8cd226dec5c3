"""A figure as data: panels of series, axes and notes. `draw` makes it a file for print, the report a zoomable plot."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

DECADES = 3
"""A logarithmic axis goes so far above its lowest value: a collapsed cell (1e8) must not squash the others."""
ROOM = 4
"""A band may stretch a logarithmic axis by so much below the lowest point: one outlier must not squash the rest."""
MARGIN = 1.4
DIGITS = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
"""Those with ticks on a logarithmic axis of less than a decade."""
SAID = 4
"""How many points beyond the axis the note names."""


@dataclass(frozen=True)
class Style:
    """Indices into what a renderer has of each; colour and marker go together, so that a figure reads in grey."""

    colour: int = 0
    marker: int | None = 0
    dash: int = 0
    fill: Literal["full", "half", "hollow"] = "full"


@dataclass(frozen=True)
class Series:
    """Points of one legend entry: joined by a line, by steps, or not at all. `low` and `high` bound a band or bars."""

    label: str
    style: Style
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    names: Sequence[str] = ()
    """What each point is, for who points at it."""
    form: Literal["line", "steps", "points"] = "line"

    @property
    def bars(self) -> tuple[list[float], list[float]] | None:
        """How far the bounds are below and above the points."""
        if not self.low:
            return None
        below = [y - low for y, low in zip(self.y, self.low, strict=True)]
        return below, [high - y for y, high in zip(self.y, self.high, strict=True)]


@dataclass(frozen=True)
class Panel:
    """One pair of axes. `levels` are horizontal lines by their label."""

    title: str
    series: list[Series]
    levels: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Axis:
    """`percent` axes show fractions as percentages. With `each`, values that occur have ticks, unless they are many."""

    title: str
    log: bool = False
    percent: bool = False
    each: bool = False

    def show(self, value: float) -> str:
        """`value` as text."""
        return f"{value:.1%}" if self.percent else f"{value:.4g}"


def decimal(value: float) -> str:
    """The text of a tick on a logarithmic axis."""
    return f"{value:g}" if value < 1e5 else f"{value:.0e}"


@dataclass(frozen=True)
class Chart:
    """A whole figure; `columns` panels stand side by side, `notes` below."""

    title: str
    x: Axis
    y: Axis
    panels: list[Panel]
    notes: list[str]
    columns: int = 1

    @property
    def series(self) -> list[Series]:
        """Those of all panels."""
        return [series for panel in self.panels for series in panel.series]

    @property
    def legend(self) -> list[Series]:
        """One series for each label, in their order."""
        return list({series.label: series for series in self.series}.values())

    @property
    def ceiling(self) -> float:
        """The largest y that the figure has room for; what is above is shown at this edge as an arrow."""
        return min(self._values, default=1) * 10**DECADES if self.y.log else float("inf")

    @property
    def _values(self) -> list[float]:
        values = [value for series in self.series for value in series.y]
        return values + [value for panel in self.panels for value in panel.levels.values()]

    @property
    def span(self) -> tuple[float, float] | None:
        """Where the logarithmic y axis of all panels begins and ends; None if it is linear, or there is nothing."""
        values = self._values
        if not (self.y.log and values):
            return None
        lows = [value for series in self.series for value in series.low]
        highs = [value for series in self.series for value in series.high]
        bottom = max(min([*values, *lows]), min(values) / ROOM) / MARGIN
        clipped = any(map(self.above, self.series))
        return bottom, self.ceiling if clipped else min(max([*values, *highs]), self.ceiling) * MARGIN

    @property
    def digits(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The digits that have ticks on logarithmic axes, x and y: more of them where one is less than a decade."""
        along = [x for series in self.series for x in series.x] if self.x.log else []
        spans = [(min(along), max(along)) if along else (1, 10), self.span or (1, 10)]
        across, up = ((1, 2, 5) if top / bottom >= 10 else DIGITS for bottom, top in spans)
        return across, up

    @property
    def ticks(self) -> list[float]:
        """The x that have a tick each: all, if the axis is meant so and they are few and stand apart; else none."""
        values = sorted({x for series in self.series for x in series.x})
        apart = all(right >= 1.2 * left if self.x.log else right >= left + 0.04 for left, right in pairwise(values))
        return values if self.x.each and len(values) <= 8 and apart else []

    def above(self, series: Series) -> list[int]:
        """The points of `series` that are beyond the ceiling."""
        ceiling = self.ceiling
        return [i for i, value in enumerate(series.y) if value > ceiling and series.style.marker is not None]

    def clipped(self) -> list[str]:
        """A note that names what the arrows stand for, if there are any."""
        found = [
            f"{series.names[i]}: {series.y[i]:.1e}" + (f" ({panel.title})" if len(self.panels) > 1 else "")
            for panel in self.panels
            for series in panel.series
            for i in self.above(series)
        ]
        more = f"; and {len(found) - SAID} more" if len(found) > SAID else ""
        return [f"↑ beyond the axis: {'; '.join(found[:SAID])}{more}."] if found else []
