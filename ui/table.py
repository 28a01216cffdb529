"""The table of models as HTML, and the plot of what is most accurate at each cost with the same in words."""

from collections.abc import Sequence
from html import escape

from engine.table import COLUMNS, Line, front
from ui import plots
from ui.facts import DATA_SETS

PAGE = 50  # lines that are drawn at first, and more at a time
HEADINGS = {  # column -> heading, unit
    "name": ("Model", ""),
    "top1": ("Top-1", "%"),
    "ms": ("Latency here", "ms"),
    "parameters": ("Parameters", "M"),
    "macs": ("Multiply-adds", "G"),
    "activations": ("Activations", "M"),
    "side": ("Image", "pixels"),
    "paradigm": ("Paradigm", ""),
    "year": ("Year", ""),
    "real": ("ReaL", "%"),
    "v2": ("ImageNet-V2", "%"),
    "a": ("ImageNet-A", "%"),
    "r": ("ImageNet-R", "%"),
    "sketch": ("Sketch", "%"),
    "looks": ("Looked at", "times, here"),
}
LABELS = 6  # names written into the plot
NOTHING = "Nothing fits: take a filter off, or search for less."


def table(found: Sequence[Line], shown: int, order: str, reverse: bool, chosen: str) -> str:
    """The first lines, with headings that order them and names that open a card."""
    if not found:
        return f'<p class="how">{NOTHING}</p>'
    heads = "".join(_head(column, order, reverse) for column in HEADINGS)
    rows = "".join(_row(line, line.name == chosen) for line in found[:shown])
    left = len(found) - shown
    more = f'<button type="button" class="link" data-do="more">Show {min(PAGE, left)} more</button>' if left > 0 else ""
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Models"><table class="models">'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>{more}"
    )


def _head(column: str, order: str, reverse: bool) -> str:
    title, unit = HEADINGS[column]
    sort = f' aria-sort="{"ascending" if reverse else "descending"}"' if column == order else ""
    small = f" <small>{unit}</small>" if unit else ""
    button = f'<button type="button" data-do="order" data-value="{column}">{title}{small}</button>'
    return f'<th scope="col"{sort}>{button}</th>'


def _row(line: Line, chosen: bool) -> str:
    opened = ' aria-current="true"' if chosen else ""
    name = escape(line.name)
    button = f'<button type="button" class="link" data-do="open" data-value="{name}">{name}</button>'
    cells = "".join(f"<td>{_cell(line, column)}</td>" for column in list(HEADINGS)[1:])
    return f'<tr{opened}><th scope="row">{button}</th>{cells}</tr>'


def _cell(line: Line, column: str) -> str:
    value = COLUMNS[column](line)
    if value is None:
        return ""
    if column == "top1":
        known = DATA_SETS[line.labels] if line.labels and line.labels != "in1k" else ""
        return f"{value:.1f}" + (f" <small>{escape(known)}</small>" if known else "")
    if column == "side":
        height, width = line.size
        return f"{height}" if height == width else f"{height} x {width}"
    if column in ("parameters", "activations"):
        return scaled(float(value) / 1e6)
    if column == "ms":
        return scaled(float(value))
    if column == "macs":
        return scaled(float(value) / 1e9)
    return escape(value) if isinstance(value, str) else f"{value:.1f}" if isinstance(value, float) else str(value)


def scaled(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def plot(found: Sequence[Line]) -> str:
    """Accuracy against multiply-adds: the lines that nothing cheaper beats, and the rest as dots."""
    known = [line for line in found if line.labels == "in1k" and line.top1 is not None]
    best = front(known, lambda line: line.figures.macs)
    if not best:
        return ""
    told = "".join(
        f"<li>{escape(line.name)}: {line.top1:.1f} %, {scaled(line.figures.macs / 1e9)} G</li>" for line in best
    )
    drawing = f'<div role="img" aria-label="The models on the line are listed below.">{_svg(known, best)}</div>'
    return (
        "<h2>Accuracy against computation</h2>"
        '<p class="how">Top-1 on ImageNet in per cent, multiply-adds in G. Nothing cheaper is more accurate than the '
        f"models on the line.</p>{drawing}"
        f"<details><summary>The {len(best)} models on the line</summary><ol>{told}</ol></details>"
    )


def _svg(known: Sequence[Line], best: Sequence[Line]) -> str:
    drawn, named = plots.axes(log=True), best[:: -(-len(best) // LABELS)]
    plots.dots(drawn, map(_point, known))
    plots.line(drawn, map(_point, best))
    plots.named(drawn, [line.architecture for line in named], map(_point, named))
    return plots.svg(drawn)


def _point(line: Line) -> plots.Point:
    """Multiply-adds in G, and top-1."""
    return line.figures.macs / 1e9, line.top1 or 0.0
