"""Charts for print: matplotlib figures, and the files made of them, the same bytes for the same chart."""

import math
import textwrap
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis as Ruler
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from prunebench.figures.chart import Axis, Chart, Panel, Series, Style
from prunebench.figures.palette import GREY, colour, dash, marker
from prunebench.files import atomic_path

PAGE = 7.0
"""Inches: the text width of a page with two columns."""
PANEL_HEIGHT, LEGEND_LINE, NOTE_LINE = 2.3, 0.17, 0.14
NOTE_WIDTH = 125
LEVEL = {"color": GREY, "linestyle": (0, (6, 2)), "linewidth": 1.0}
STYLE = {
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
    "figure.dpi": 200,
}


def save(chart: Chart, path: Path) -> None:
    """Draw `chart` and write it to `path`; the suffix is the format."""
    with atomic_path(path) as temporary, mpl.rc_context(STYLE):
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        draw(chart).savefig(temporary, format=path.suffix.removeprefix("."), metadata=metadata)


def draw(chart: Chart) -> Figure:
    """`chart` as a figure of the width of a page, or less if it has one panel."""
    with mpl.rc_context(STYLE):
        panels = chart.panels or [Panel("", [])]
        columns = min(chart.columns, len(panels))
        width = PAGE if columns > 1 else PAGE * 0.65
        rows = math.ceil(len(panels) / columns)
        handles = _handles(chart)
        longest = max((len(str(handle.get_label())) for handle in handles), default=1)
        across = max(1, int(width * 14 / (longest + 8)))
        notes = [line for note in [*chart.notes, *chart.clipped()] for line in _wrapped(note, width)]
        below = math.ceil(len(handles) / across) * LEGEND_LINE + len(notes) * NOTE_LINE + 0.15
        height = rows * PANEL_HEIGHT + below
        figure = Figure(figsize=(width, height))
        figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0, below / height, 1, 1 - below / height)))
        for index, panel in enumerate(panels):
            _draw_panel(figure.add_subplot(rows, columns, index + 1), chart, panel)
        figure.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, below / height), ncols=across, borderaxespad=0
        )
        figure.text(0.01, 0.05 / height, "\n".join(notes), fontsize=6.5, color="#555555", va="bottom")
        return figure


def _wrapped(note: str, width: float) -> list[str]:
    return textwrap.wrap(note, int(NOTE_WIDTH * width / PAGE))


def _draw_panel(axes: Axes, chart: Chart, panel: Panel) -> None:
    axes.set_title(panel.title, loc="left")
    axes.set_xscale("log" if chart.x.log else "linear")
    axes.set_yscale("log" if chart.y.log else "linear")
    for label, value in panel.levels.items():
        axes.axhline(value, label=label, **LEVEL)  # type: ignore[arg-type]
    for series in panel.series:
        _draw_series(axes, series)
        for i in chart.above(panel, series):
            axes.plot(
                series.x[i], chart.ceiling(panel), marker=r"$\uparrow$", color=colour(series.style), clip_on=False
            )
    if not panel.series:
        axes.text(0.5, 0.5, "no cell to show", transform=axes.transAxes, ha="center", color=GREY)
    if any(chart.above(panel, series) for series in panel.series):
        axes.set_ylim(top=chart.ceiling(panel))
    _draw_ruler(axes.xaxis, chart.x, sorted({x for series in panel.series for x in series.x}))
    _draw_ruler(axes.yaxis, chart.y, [])
    axes.label_outer()


def _draw_series(axes: Axes, series: Series) -> None:
    look = _look(series.style)
    if series.form == "points":
        bars = [
            [y - low for y, low in zip(series.y, series.low, strict=True)],
            [high - y for y, high in zip(series.y, series.high, strict=True)],
        ]
        axes.errorbar(series.x, series.y, bars if series.low else None, label=series.label, **look | {"linestyle": ""})
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
        axes.fill_between(series.x, series.low, series.high, color=colour(series.style), alpha=0.12, linewidth=0)


def _look(style: Style) -> dict[str, str]:
    shape = marker(style)
    return {
        "color": colour(style),
        "linestyle": dash(style).print,
        "marker": shape.print if shape else "",
        "markerfacecolor": "white" if style.hollow else colour(style),
    }


def _handles(chart: Chart) -> list[Line2D]:
    """What stands in the legend: the series of all panels once each, then the levels."""
    joined = {series.label: series.form != "points" for panel in chart.panels for series in panel.series}
    handles = [
        Line2D([], [], label=label, **_look(style) | ({} if joined[label] else {"linestyle": ""}))  # type: ignore[arg-type]
        for label, style in chart.legend.items()
    ]
    levels = dict.fromkeys(label for panel in chart.panels for label in panel.levels)
    return handles + [Line2D([], [], label=label, **LEVEL) for label in levels]  # type: ignore[arg-type]


def _draw_ruler(ruler: Ruler, axis: Axis, values: list[float]) -> None:
    """Title and ticks of one axis; a percent axis has its ticks at the `values`, if they are few."""
    ruler.set_label_text(axis.title)
    if axis.log:
        ruler.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        ruler.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value < 1e5 else f"{value:.0e}"))
        ruler.set_minor_formatter(NullFormatter())
    elif axis.percent:
        ruler.set_major_formatter(PercentFormatter(1, decimals=0))
        if 0 < len(values) <= 8 and all(b - a >= 0.04 for a, b in zip(values, values[1:], strict=False)):
            ruler.set_ticks(values)
    else:
        ruler.set_major_locator(MaxNLocator(integer=True))
