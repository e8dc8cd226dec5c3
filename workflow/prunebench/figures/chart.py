"""A figure as data: panels of series, axes and notes. `draw` makes it a file for print, the report a zoomable plot."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

DECADES = 3
"""A logarithmic axis goes so far above its lowest value: a collapsed cell (1e8) must not squash the others."""


@dataclass(frozen=True)
class Style:
    """Indices into what a renderer has of each; colour and marker go together, so that a figure reads in grey."""

    colour: int = 0
    marker: int | None = 0
    dash: int = 0
    hollow: bool = False


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


@dataclass(frozen=True)
class Panel:
    """One pair of axes. `levels` are horizontal lines by their label."""

    title: str
    series: list[Series]
    levels: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Axis:
    """`percent` axes show fractions as percentages."""

    title: str
    log: bool = False
    percent: bool = False

    def show(self, value: float) -> str:
        """`value` as text."""
        return f"{value:.1%}" if self.percent else f"{value:.4g}"


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
    def legend(self) -> dict[str, Style]:
        """The style of every series, by label."""
        return {series.label: series.style for panel in self.panels for series in panel.series}

    def ceiling(self, panel: Panel) -> float:
        """The largest y that `panel` has room for; what is above is shown at this edge as an arrow."""
        values = [value for series in panel.series for value in series.y] + [*panel.levels.values()]
        return min(values, default=1) * 10**DECADES if self.y.log else float("inf")

    def above(self, panel: Panel, series: Series) -> list[int]:
        """The points of `series` that are beyond the ceiling of `panel`."""
        ceiling = self.ceiling(panel)
        return [i for i, value in enumerate(series.y) if value > ceiling]

    def clipped(self) -> list[str]:
        """A note that names what the arrows stand for, if there are any."""
        found = [
            f"{panel.title + ' ' if len(self.panels) > 1 else ''}{series.names[i] or series.label} {series.y[i]:.2g}"
            for panel in self.panels
            for series in panel.series
            for i in self.above(panel, series)
        ]
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        return [f"Arrows at the upper edge are beyond the axis: {'; '.join(found[:4])}{more}."] if found else []
