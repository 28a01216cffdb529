"""Plots as SVG, drawn by matplotlib in colours that are seen on white and on black."""

import io
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

GREY = "#8a8f98"
COLOURS, MARKS = ("#5b86e5", "#d9822b", "#2f9e77", "#c05299"), "os^D"

Point = tuple[float, float]


def axes(log: bool = False) -> Axes:
    """An empty plot; `log` spaces its horizontal axis by ratios."""
    drawn = Figure((4.4, 3.2), layout="tight").add_subplot()
    if log:
        drawn.set_xscale("log")
        drawn.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        drawn.xaxis.set_major_formatter("{x:g}")
        drawn.xaxis.set_minor_formatter("")
    drawn.margins(0.1)
    drawn.tick_params(colors=GREY, labelsize=8)
    drawn.grid(color=GREY, alpha=0.2)
    for side, spine in drawn.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GREY)
    return drawn


def dots(drawn: Axes, points: Iterable[Point]) -> None:
    """Small grey dots, for what is not in the focus; many are drawn as one picture."""
    drawn.plot(*_columns(points), ".", color=GREY, alpha=0.5, markersize=3, rasterized=True)


def line(drawn: Axes, points: Iterable[Point], join: bool = True, number: int = 0) -> None:
    """Points joined in their order; the curve of each number has its own colour and mark."""
    drawn.plot(*_columns(points), f"{MARKS[number]}{'-' * join}", color=COLOURS[number], markersize=4)


def named(drawn: Axes, names: Sequence[str], points: Iterable[Point]) -> None:
    """A name beside each point, towards the middle of the plot."""
    for name, point in zip(names, points, strict=True):
        right = drawn.transAxes.inverted().transform(drawn.transData.transform(point))[0] > 0.5
        place: dict[str, Any] = dict(xytext=(-6 if right else 6, -8), ha="right" if right else "left")
        drawn.annotate(name, point, textcoords="offset points", fontsize=7, color=GREY, **place)


def svg(drawn: Axes) -> str:
    written = io.StringIO()
    figure = drawn.figure
    assert isinstance(figure, Figure)
    figure.savefig(written, format="svg", transparent=True, dpi=150)
    text = written.getvalue()
    return text[text.index("<svg") :]


def _columns(points: Iterable[Point]) -> tuple[list[float], list[float]]:
    listed = list(points)
    return [x for x, _ in listed], [y for _, y in listed]
