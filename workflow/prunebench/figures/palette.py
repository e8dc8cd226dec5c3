"""The colours, markers and dashes that the indices of a Style stand for, in print and on screen."""

from typing import NamedTuple

from prunebench.figures.chart import Style

# Okabe and Ito's colours for all kinds of colour vision, without the two that fade on white or on black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
GREY = "#7f7f7f"


class Marker(NamedTuple):
    """One shape: its names in matplotlib and plotly, and its characters in text."""

    print: str
    screen: str
    filled: str
    hollow: str


MARKERS = (
    Marker("o", "circle", "●", "○"),
    Marker("s", "square", "■", "□"),
    Marker("^", "triangle-up", "▲", "△"),
    Marker("D", "diamond", "◆", "◇"),
    Marker("v", "triangle-down", "▼", "▽"),
    Marker("*", "star", "★", "☆"),
    Marker("<", "triangle-left", "◀", "◁"),
    Marker(">", "triangle-right", "▶", "▷"),
    Marker("p", "pentagon", "⬟", "⬠"),
    Marker("h", "hexagon", "⬢", "⬡"),
)


class Dash(NamedTuple):
    """One kind of line: its names in matplotlib, plotly and SVG."""

    print: str
    screen: str
    svg: str


DASHES = (Dash("-", "solid", ""), Dash("--", "dash", "6 3"), Dash(":", "dot", "2 2"), Dash("-.", "dashdot", "6 2 2 2"))


def colour(style: Style) -> str:
    """Find the colour of `style`. A style without a marker shows no data, and is grey."""
    return COLOURS[style.colour % len(COLOURS)] if style.marker is not None else GREY


def marker(style: Style) -> Marker | None:
    """Find the shape of `style`, if it has one."""
    return None if style.marker is None else MARKERS[style.marker % len(MARKERS)]


def dash(style: Style) -> Dash:
    """Find the kind of line of `style`."""
    return DASHES[style.dash % len(DASHES)]
