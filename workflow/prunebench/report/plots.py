"""Charts for the screen: the data that plotly.js draws, one plot per panel, so that panels wrap on a narrow page."""

from collections.abc import Sequence
from html import escape
from math import log10
from typing import Any

from prunebench.figures.chart import Axis, Chart, Series, decimal
from prunebench.figures.palette import GREY, colour, dash, marker

POWERS = range(-8, 13)
"""The powers of ten where logarithmic axes have ticks, also when somebody zooms out."""


def plots(chart: Chart) -> list[dict[str, Any]]:
    """Make a plotly figure (data and layout, without colours of the page) for each panel."""
    return [
        {
            "data": [trace for series in panel.series for trace in _traces(chart, series)],
            "layout": {
                "xaxis": _axis(chart.x, chart.digits[0], chart.ticks),
                "yaxis": _axis(chart.y, chart.digits[1]) | {"automargin": True, **_range(chart)},
                "shapes": [_level(value) for value in panel.levels.values()],
                "annotations": [_level_name(chart, label, value) for label, value in panel.levels.items()],
            },
        }
        for panel in chart.panels
    ]


def swatches(chart: Chart) -> list[dict[str, Any]]:
    """List the entries of the legend, one for each series: label, colour, glyph and dashes."""
    entries = []
    for series in chart.legend:
        style, shape = series.style, marker(series.style)
        glyph = (shape.hollow if style.fill == "hollow" else shape.filled) if shape else ""
        dashes = None if series.form == "points" else dash(style).svg
        swatch = {"label": series.label, "colour": colour(style), "glyph": glyph, "dashes": dashes}
        entries.append(swatch | {"dot": style.fill == "half" and bool(shape)})
    return entries


def _traces(chart: Chart, series: Series) -> list[dict[str, Any]]:
    shape = marker(series.style)
    suffix = {"full": "", "half": "-dot", "hollow": "-open"}[series.style.fill]
    trace: dict[str, Any] = {
        "type": "scatter",
        "name": series.label,
        "x": list(series.x),
        "y": list(series.y),
        "text": [f"{_plain(name)}: {chart.y.show(y)}" for name, y in zip(series.names, series.y, strict=True)],
        "hovertemplate": "%{text}<extra></extra>",
        "mode": "+".join((["lines"] if series.form != "points" else []) + (["markers"] if shape else [])),
        "line": {"color": colour(series.style), "dash": dash(series.style).screen, "width": 2},
    }
    if shape:
        edge = {"line": {"color": "#ffffff", "width": 1}} if series.style.fill == "half" else {}
        size = 9 if len(series.x) < 10 else 6
        trace["marker"] = {"symbol": f"{shape.screen}{suffix}", "color": colour(series.style), "size": size, **edge}
    if series.form == "steps":
        trace["line"] |= {"shape": "hv", "width": 2 if shape else 1}
    if series.bars and series.form == "points":
        below, up = series.bars
        trace["error_y"] = {"array": up, "arrayminus": below, "symmetric": False, "thickness": 1}
    band = _band(series) if series.low and series.form != "points" else []
    return [*band, trace, *_arrows(chart, series, trace["text"])]


def _plain(text: str) -> str:
    """Escape `text`, as plotly.js would show its tags and links."""
    return escape(text, quote=False)


def _arrows(chart: Chart, series: Series, names: list[str]) -> list[dict[str, Any]]:
    """Draw arrows at the upper edge for points beyond it."""
    above = chart.above(series)
    arrows = {
        "type": "scatter",
        "mode": "text",
        "name": series.label,
        "x": [series.x[i] for i in above],
        "y": [chart.ceiling] * len(above),
        "text": ["↑"] * len(above),
        "textposition": "bottom center",
        "textfont": {"color": colour(series.style), "size": 18},
        "hovertext": [names[i] for i in above],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }
    return [arrows] if above else []


def _band(series: Series) -> list[dict[str, Any]]:
    shared = {
        "type": "scatter",
        "name": series.label,
        "x": list(series.x),
        "mode": "lines",
        "line": {"width": 0, "color": colour(series.style), "shape": "hv" if series.form == "steps" else "linear"},
        "hoverinfo": "skip",
    }
    fill = {"fill": "tonexty", "fillcolor": f"{colour(series.style)}22"}
    return [{**shared, "y": list(series.low)}, {**shared, "y": list(series.high), **fill}]


def _axis(axis: Axis, digits: tuple[float, ...], ticks: Sequence[float] = ()) -> dict[str, Any]:
    """Lay out an axis. A logarithmic one has ticks at `digits` of each power of ten, unless `ticks` has others."""
    ruler: dict[str, Any] = {"title": {"text": axis.title, "standoff": 12}, "zeroline": False}
    if axis.log:
        values = ticks or [float(f"{digit}e{power}") for power in POWERS for digit in digits]
        ruler |= {"type": "log", "tickvals": values, "ticktext": [decimal(value) for value in values]}
    elif ticks:
        ruler["tickvals"] = ticks
    return ruler | ({"tickformat": ".0%"} if axis.percent else {})


def _range(chart: Chart) -> dict[str, Any]:
    return {"range": [log10(end) if chart.y.log else end for end in chart.span]} if chart.span else {}


def _level(value: float) -> dict[str, Any]:
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": value,
        "y1": value,
        "line": {"color": GREY, "dash": "longdash", "width": 1},
    }


def _level_name(chart: Chart, label: str, value: float) -> dict[str, Any]:
    return {
        "xref": "paper",
        "x": 1,
        "xanchor": "right",
        "y": log10(value) if chart.y.log else value,
        "yanchor": "bottom",
        "text": f"{_plain(label)} {chart.y.show(value)}",
        "showarrow": False,
        "font": {"size": 11},
    }
