"""A figure as data: panels of series, axes and notes. `draw` makes it a file for print, the report a zoomable plot."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Literal

from prunebench.runtime.digits import LARGE, rounded, short

DECADES = 3
"""How far a logarithmic axis goes above its lowest value: a collapsed cell (1e8) must not squash the others."""
ROOM = 4
"""The factor by which a band may stretch a logarithmic axis below the lowest point, so that no outlier squashes it."""
MARGIN = 1.4
PERCENT = 0.03
"""The room below and above fractions on their axis."""
DIGITS = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
"""The digits that have ticks on a logarithmic axis of less than a decade."""
SAID = 4
"""How many of the points beyond the axis the note names."""


@dataclass(frozen=True)
class Style:
    """Indices into a renderer's colours, markers and dashes. Colour and marker go together: it reads in grey."""

    colour: int = 0
    marker: int | None = 0
    dash: int = 0
    fill: Literal["full", "half", "hollow"] = "full"


@dataclass(frozen=True)
class Series:
    """The points of one legend entry, joined as `form` says. `low` and `high` bound a band or bars."""

    label: str
    style: Style
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    names: Sequence[str] = ()
    """The text of each point, which the screen shows when the mouse is over it."""
    form: Literal["line", "steps", "points"] = "line"

    @property
    def bars(self) -> tuple[list[float], list[float]] | None:
        """How far the bounds are below and above the points; None without bounds."""
        if not self.low:
            return None
        below = [y - low for y, low in zip(self.y, self.low, strict=True)]
        return below, [high - y for y, high in zip(self.y, self.high, strict=True)]


@dataclass(frozen=True)
class Panel:
    """One pair of axes with its series. `levels` are horizontal lines by their label."""

    title: str
    series: list[Series]
    levels: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Axis:
    """An axis. `percent` shows fractions as percentages. With `each`, values that occur have ticks, if they are few."""

    title: str
    log: bool = False
    percent: bool = False
    each: bool = False

    def show(self, value: float) -> str:
        """Print `value`, in percent where the axis is."""
        return f"{value:.1%}" if self.percent else rounded(value, 4, collapses=self.log, significant=4)


def decimal(value: float) -> str:
    """Print the text of a tick on a logarithmic axis."""
    return f"{value:g}" if value < LARGE else short(value)


@dataclass(frozen=True)
class Chart:
    """A whole figure as data; `columns` panels stand side by side, `notes` below."""

    title: str
    x: Axis
    y: Axis
    panels: list[Panel]
    notes: list[str]
    columns: int = 1

    @cached_property
    def series(self) -> list[Series]:
        """The series of all panels."""
        return [series for panel in self.panels for series in panel.series]

    @cached_property
    def legend(self) -> list[Series]:
        """One series for each label, in the order of their first appearance."""
        return list({series.label: series for series in self.series}.values())

    @cached_property
    def ceiling(self) -> float:
        """The largest y that the figure has room for. Points above it are shown at this edge as arrows."""
        return min(self._values, default=1) * 10**DECADES if self.y.log else float("inf")

    @cached_property
    def _values(self) -> list[float]:
        values = [value for series in self.series for value in series.y]
        return values + [value for panel in self.panels for value in panel.levels.values()]

    @cached_property
    def span(self) -> tuple[float, float] | None:
        """The lowest and highest y of all panels on an axis that is logarithmic or of fractions; else None.

        Without this, fractions that are all equal would get an axis from -50% to 150%.
        """
        values = self._values
        if not values or not (self.y.log or self.y.percent):
            return None
        if self.y.percent:
            ends = [*values, *(end for series in self.series for end in (*series.low, *series.high))]
            return min(ends) - PERCENT, max(ends) + PERCENT
        lows = [value for series in self.series for value in series.low]
        highs = [value for series in self.series for value in series.high]
        bottom = max(min([*values, *lows]), min(values) / ROOM) / MARGIN
        clipped = any(map(self.above, self.series))
        return bottom, self.ceiling if clipped else min(max([*values, *highs]), self.ceiling) * MARGIN

    @cached_property
    def digits(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The digits that have ticks on logarithmic axes, x and y. A shorter axis than a decade has more of them."""
        along = [x for series in self.series for x in series.x] if self.x.log else []
        spans = [(min(along), max(along)) if along else (1, 10), self.span or (1, 10)]
        across, up = ((1, 2, 5) if top / bottom >= 10 else DIGITS for bottom, top in spans)
        return across, up

    @cached_property
    def ticks(self) -> list[float]:
        """The values of x, each of which gets a tick, if the axis has `each` and they are few and apart; else none."""
        values = sorted({round(x, 2) if self.x.percent else x for series in self.series for x in series.x})
        apart = all(right >= 1.2 * left if self.x.log else right >= left + 0.04 for left, right in pairwise(values))
        return values if self.x.each and len(values) <= 8 and apart else []

    def above(self, series: Series) -> list[int]:
        """List the indices of the points of `series` that are beyond the ceiling."""
        ceiling = self.ceiling
        return [i for i, value in enumerate(series.y) if value > ceiling and series.style.marker is not None]

    def clipped(self) -> list[str]:
        """Write a note that names the points behind the arrows, if there are any."""
        points = [
            f"{series.names[i]}: {short(series.y[i], 2)}" + (f" ({panel.title})" if len(self.panels) > 1 else "")
            for panel in self.panels
            for series in panel.series
            for i in self.above(series)
        ]
        more = f"; and {len(points) - SAID} more" if len(points) > SAID else ""
        return [f"↑ beyond the axis: {'; '.join(points[:SAID])}{more}."] if points else []
