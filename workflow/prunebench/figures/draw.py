"""Drawing charts for print with matplotlib. Equal charts give files with equal bytes."""

import math
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis as Ruler
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from prunebench.figures.chart import Axis, Chart, Panel, Series, decimal
from prunebench.figures.palette import GREY, colour, dash, marker
from prunebench.storage.files import atomic_path

PAGE = 7.0
"""The text width of a page with two columns, in inches."""
PANEL_HEIGHT, TITLE_LINE, LEGEND_LINE, NOTE_LINE = 2.3, 0.13, 0.165, 0.115
TITLE_WIDTH = 14
"""The number of characters of a panel's title that fit on an inch."""
NOTE_WIDTH = 138
"""The number of characters of a note that fit on a line of a whole page."""
LEVEL: dict[str, Any] = {"color": GREY, "linestyle": (0, (6, 2)), "linewidth": 1.0}
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "svg.hashsalt": "prunebench",
    "text.parse_math": False,  # a title may have dollars
    "figure.dpi": 200,
}


def save(chart: Chart, *paths: Path) -> None:
    """Draw `chart` once and write it to each of `paths`; the suffix is the format."""
    figure = draw(chart)
    with mpl.rc_context(STYLE):
        # The layout takes most of the time, and would depend on the resolution of each format.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    for path in paths:
        with atomic_path(path) as temporary, mpl.rc_context(STYLE):
            metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
            figure.savefig(temporary, format=path.suffix.removeprefix("."), metadata=metadata)


def draw(chart: Chart) -> Figure:
    """Draw `chart` as a figure of the width of a page, or less if it has one panel."""
    with mpl.rc_context(STYLE):
        panels = chart.panels or [Panel("", [])]
        columns = min(chart.columns, len(panels))
        width = PAGE if columns > 1 else PAGE * 0.65
        rows = math.ceil(len(panels) / columns)
        handles = _handles(chart)
        longest = max((len(str(handle.get_label())) for handle in handles), default=1)
        across = max(1, int(width * 14 / (longest + 8)))
        wrap = textwrap.TextWrapper(int(NOTE_WIDTH * width / PAGE)).wrap
        notes = [line for note in [*chart.notes, *chart.clipped()] for line in wrap(note)]
        below = math.ceil(len(handles) / across) * LEGEND_LINE + len(notes) * NOTE_LINE + 0.1
        titles = [textwrap.fill(panel.title, int(TITLE_WIDTH * width / columns)) for panel in panels]
        height = rows * (PANEL_HEIGHT + max(title.count("\n") for title in titles) * TITLE_LINE) + below
        figure = Figure(figsize=(width, height))
        figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0, below / height, 1, 1 - below / height)))
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.remove()
        for panel, title, axes in zip(panels, titles, grid.flat, strict=False):
            axes.set_title(title, loc="left")
            _draw_panel(axes, chart, panel)
        for axes in grid.flat[max(0, len(panels) - columns) : len(panels)]:
            axes.set_xlabel(chart.x.title)
            axes.tick_params(labelbottom=True)  # the row below may end before this column
        for axes in grid[:, 0]:
            axes.set_ylabel(chart.y.title)
        _draw_rulers(grid[0, 0], chart)
        figure.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, below / height), ncols=across, borderaxespad=0
        )
        figure.text(0.01, 0.04 / height, "\n".join(notes), fontsize=6.5, color="#555555", va="bottom")
        return figure


def _draw_panel(axes: Axes, chart: Chart, panel: Panel) -> None:
    for label, value in panel.levels.items():
        axes.axhline(value, label=label, **LEVEL)
    arrows: Counter[float] = Counter()
    for series in panel.series:
        _draw_series(axes, series)
        for x in (series.x[i] for i in chart.above(series)):
            axes.annotate(
                "↑",
                (x, 1),
                (-6 * arrows[x], 0),
                xycoords=axes.get_xaxis_transform(),
                textcoords="offset points",
                color=colour(series.style),
                size=11,
                ha="center",
                va="top",
            )
            arrows[x] += 1
    if not panel.series:
        axes.text(0.5, 0.5, "no cell to show", transform=axes.transAxes, ha="center", color=GREY)


def _draw_series(axes: Axes, series: Series) -> None:
    look = _look(series)
    if series.form == "points":
        axes.errorbar(series.x, series.y, series.bars, label=series.label, **look)
        return
    axes.plot(
        series.x,
        series.y,
        label=series.label,
        drawstyle="steps-post" if series.form == "steps" else "default",
        markevery=max(1, len(series.x) // 10),
        **look,
    )
    if series.low:
        axes.fill_between(
            series.x,
            series.low,
            series.high,
            step="post" if series.form == "steps" else None,
            color=colour(series.style),
            alpha=0.09,
            linewidth=0,
        )


def _look(series: Series) -> dict[str, Any]:
    style, shape = series.style, marker(series.style)
    return {
        "color": colour(style),
        "linestyle": "" if series.form == "points" else dash(style).print,
        "marker": shape.print if shape else "",
        "markerfacecolor": "white" if style.fill == "hollow" else colour(style),
        "markerfacecoloralt": "white",
        "fillstyle": "left" if style.fill == "half" else "full",
    }


def _handles(chart: Chart) -> list[Line2D]:
    """Make the entries of the legend: the series of all panels, each once, then the levels."""
    handles = [Line2D([], [], label=series.label, **_look(series)) for series in chart.legend]
    levels = dict.fromkeys(label for panel in chart.panels for label in panel.levels)
    return handles + [Line2D([], [], label=label, **LEVEL) for label in levels]


def _draw_rulers(axes: Axes, chart: Chart) -> None:
    """Set the scales, limits and ticks, which all panels share."""
    # Base 2 has no minor ticks, which would stand between the ticks that a chart asks for.
    axes.set_xscale("log", base=2 if chart.ticks else 10) if chart.x.log else axes.set_xscale("linear")
    axes.set_yscale("log" if chart.y.log else "linear")
    axes.set_ylim(chart.span)
    for ruler, axis, digits in zip((axes.xaxis, axes.yaxis), (chart.x, chart.y), chart.digits, strict=True):
        _draw_ticks(ruler, axis, digits)
    if chart.ticks:
        axes.xaxis.set_ticks(chart.ticks)


def _draw_ticks(ruler: Ruler, axis: Axis, digits: tuple[float, ...]) -> None:
    if axis.log:
        ruler.set_major_locator(LogLocator(subs=digits, numticks=12))
        ruler.set_major_formatter(FuncFormatter(lambda value, _: decimal(value)))
        ruler.set_minor_formatter(NullFormatter())
    elif axis.percent:
        ruler.set_major_formatter(PercentFormatter(1, decimals=0))
    else:
        ruler.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
